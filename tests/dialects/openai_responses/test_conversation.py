"""What a caller of the Responses API asks for, as the hub understands it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from apps.core.errors import GatewayError
from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apps.dialects.hub.reasoning import ANTHROPIC, OPENAI, SIGNATURE, Seal, wrap
from apps.dialects.protocol import InvalidRequest, UnsupportedField
from apps.dialects.registry import CALLERS
from tests.dialects.bodies import parse

CALLER = CALLERS["openai-responses"]


def asked(**fields: Any) -> Conversation:
    return CALLER.read_conversation(parse("responses", **fields))


def refused(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        asked(**fields)
    return caught.value


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, **more}


def test_a_string_is_one_turn_of_the_user() -> None:
    assert asked(input="Hi").turns == [Turn("user", [Text("Hi")], field="input")]


def test_instructions_come_first() -> None:
    assert asked(instructions="Be kind.", input="Hi").turns[0] == Turn(
        "system", [Text("Be kind.")], field="instructions"
    )
    assert len(asked(instructions=None).turns) == 1


def test_messages_keep_role_order_and_parts() -> None:
    png = "data:image/png;base64,iVBO"
    pdf = "data:application/pdf;base64,JVBE"
    turns = asked(
        input=[
            {"role": "developer", "content": "Short answers."},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "See", "prompt_cache_breakpoint": {"mode": "explicit"}},
                    {"type": "input_image", "image_url": png, "detail": "low"},
                    {"type": "input_image", "image_url": "https://example.com/a.png"},
                    {"type": "input_file", "file_data": pdf, "filename": "a.pdf"},
                ],
            },
            {"role": "assistant", "content": [{"type": "output_text", "text": "I see."}]},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ]
    ).turns
    assert turns == [
        Turn("developer", [Text("Short answers.")], field="input[0]"),
        Turn(
            "user",
            [
                Text("See", cache=CacheMark()),
                Image("image/png", "iVBO", detail="low"),
                Image(url="https://example.com/a.png"),
                Document("application/pdf", "JVBE", name="a.pdf"),
            ],
            field="input[1]",
        ),
        Turn("assistant", [Text("I see."), Refusal("No.")], field="input[2]"),
    ]


def test_what_the_model_made_in_one_go_is_one_turn_and_so_are_the_results() -> None:
    turns = asked(
        input=[
            {"role": "user", "content": "Weather in Berlin and Rome?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Berlin"}'},
            {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"city":"Rome"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "20 °C"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "status": "incomplete",
                "output": [{"type": "input_text", "text": "No such city."}],
            },
            {"role": "user", "content": "So?"},
        ]
    ).turns
    assert turns[1:] == [
        Turn(
            "assistant",
            [
                Thinking(seal=Seal(OPENAI, "encrypted", "gAAA", "rs_1"), id="rs_1"),
                ToolCall("c1", "weather", '{"city": "Berlin"}'),
                ToolCall("c2", "weather", '{"city":"Rome"}'),
            ],
            field="input[1]",
        ),
        Turn(
            "user",
            [
                ToolResult("c1", [Text("20 °C")], name="weather"),
                ToolResult("c2", [Text("No such city.")], is_error=True, name="weather"),
            ],
            field="input[4]",
        ),
        Turn("user", [Text("So?")], field="input[6]"),
    ]


def test_free_text_calls_and_results() -> None:
    turns = asked(
        input=[
            {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        ]
    ).turns
    assert turns[0].parts == [ToolCall("c1", "patch", "*** Begin", is_custom=True)]
    assert turns[1].parts == [ToolResult("c1", [Text("done")], is_custom=True, name="patch")]


def test_tools_that_the_protocol_defines_are_functions_to_others() -> None:
    read = asked(
        tools=[{"type": "local_shell"}, {"type": "apply_patch"}],
        tool_choice={"type": "apply_patch"},
        input=[
            {
                "type": "local_shell_call",
                "id": "lsh_1",
                "call_id": "c1",
                "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
            },
            {"type": "local_shell_call_output", "id": "c1", "output": "a.txt"},
            {
                "type": "apply_patch_call",
                "call_id": "c2",
                "status": "completed",
                "operation": {"type": "delete_file", "path": "a.txt"},
            },
            {"type": "apply_patch_call_output", "call_id": "c2", "status": "failed", "output": "No such file."},
        ],
    )
    assert [(tool.name, tool.native) for tool in read.tools] == [
        ("local_shell", "local_shell"),
        ("apply_patch", "apply_patch"),
    ]
    assert all(json.loads(bytes(tool.schema or b""))["type"] == "object" for tool in read.tools)
    assert read.tool_choice == ToolChoice("tool", ("apply_patch",))
    calls = [part for turn in read.turns for part in turn.parts if isinstance(part, ToolCall)]
    assert [(call.id, call.name, json.loads(call.arguments)) for call in calls] == [
        ("c1", "local_shell", {"type": "exec", "command": ["ls"], "env": {}}),
        ("c2", "apply_patch", {"type": "delete_file", "path": "a.txt"}),
    ]
    results = [part for turn in read.turns for part in turn.parts if isinstance(part, ToolResult)]
    assert [(result.call_id, result.parts, result.is_error, result.name) for result in results] == [
        ("c1", [Text("a.txt")], False, "local_shell"),
        ("c2", [Text("No such file.")], True, "apply_patch"),
    ]


@pytest.mark.parametrize(
    ("item", "thought"),
    [
        (
            {"summary": [{"type": "summary_text", "text": "A"}, {"type": "summary_text", "text": "B"}]},
            Thinking("A\n\nB", is_summary=True, id="rs_1"),
        ),
        (
            {"content": [{"type": "reasoning_text", "text": "Hm."}], "summary": [], "encrypted_content": None},
            Thinking("Hm.", id="rs_1"),
        ),
        (
            {
                "summary": [{"type": "summary_text", "text": "Hm."}],
                "encrypted_content": wrap(Seal(ANTHROPIC, SIGNATURE, "EqQB")),
            },
            Thinking("Hm.", Seal(ANTHROPIC, SIGNATURE, "EqQB")),
        ),
    ],
)
def test_reasoning_comes_back_as_it_was(item: dict[str, Any], thought: Thinking) -> None:
    turns = asked(input=[{"type": "reasoning", "id": "rs_1", **item}, {"role": "user", "content": "Go on."}]).turns
    assert turns[0].parts == [thought]


def test_reasoning_that_says_nothing_is_nothing() -> None:
    assert asked(
        input=[{"type": "reasoning", "id": "rs_1", "summary": []}, {"role": "user", "content": "Hi"}]
    ).turns == [Turn("user", [Text("Hi")], field="input[1]")]


def test_an_image_that_the_model_drew_is_part_of_its_turn() -> None:
    drawn = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"}
    assert asked(input=[drawn]).turns == [Turn("assistant", [Image("image/png", "iVBO")], field="input[0]")]


def test_what_a_provider_did_on_its_own_is_left_out_and_named() -> None:
    read = asked(
        input=[
            {"role": "user", "content": "Hi"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        ],
        tools=[{"type": "tool_search"}, function("f", defer_loading=True)],
        truncation="auto",
        prompt_cache_options={"mode": "explicit"},
        client_metadata={"cwd": "/home/alice"},
        max_tool_calls=3,
        store=False,
        service_tier="auto",
        stream_options={"include_obfuscation": False},
    )
    assert read.unread == ("tools[0] tool_search", "input[1] web_search_call", "truncation", "prompt_cache_options")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": [{"type": "compaction", "encrypted_content": "gAAA"}]}, "input[0].type"),
        ({"input": [{"type": "computer_call", "call_id": "c"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}, "input[0].content[0].type"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"tools": [function("f")], "tool_choice": {"type": "mcp"}}, "tool_choice"),
    ],
)
def test_meaning_that_has_no_word_in_other_protocols_is_refused(fields: dict[str, Any], field: str) -> None:
    error = refused(**fields)
    assert (type(error), error.code, error.param) == (UnsupportedField, "unsupported_field", field)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [function("f")], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [function("f")], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"include": "everything"}, "include"),
        ({"instructions": ["Hi"]}, "instructions"),
    ],
)
def test_what_is_malformed_is_named(fields: dict[str, Any], field: str) -> None:
    error = refused(**fields)
    assert (type(error), error.param) == (InvalidRequest, field)


def test_tools_keep_their_schema_byte_by_byte() -> None:
    body = (
        b'{"model":"m","input":"Hi","tools":[{"type":"function","name":"f","description":"Does.","strict":true,'
        b'"parameters":{"type": "object",  "properties":{}}},{"type":"custom","name":"c","format":{"type":"text"}}]}'
    )
    from apps.dialects.registry import BY_ENDPOINT

    first, second = CALLER.read_conversation(BY_ENDPOINT["responses"].parse(body)).tools
    assert (first.name, first.description, first.is_strict) == ("f", "Does.", True)
    assert bytes(first.schema or b"") == b'{"type": "object",  "properties":{}}'
    assert (second.name, second.is_custom, bytes(second.format or b"")) == ("c", True, b'{"type":"text"}')


CODEX = [
    function("shell", parameters={"type": "object"}),
    {
        "type": "namespace",
        "name": "agents",
        "description": "Other agents.",
        "tools": [function("spawn"), function("shell")],
    },
    {"type": "web_search"},
]


def test_grouped_tools_are_flattened_under_names_of_their_own() -> None:
    read = asked(tools=CODEX, tool_choice={"type": "function", "name": "shell", "namespace": "agents"})
    assert [(tool.name, tool.namespace, tool.short_name) for tool in read.tools] == [
        ("shell", "", ""),
        ("spawn", "agents", "spawn"),
        ("agents__shell", "agents", "shell"),
    ]
    assert read.tool_choice == ToolChoice("tool", ("agents__shell",))


def test_calls_of_grouped_tools_bear_the_flat_name() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "shell", "namespace": "agents", "arguments": "{}"}
    turns = asked(tools=CODEX, input=[call, {**call, "namespace": "elsewhere"}]).turns
    assert turns[0].parts == [ToolCall("c", "agents__shell", "{}"), ToolCall("c", "shell", "{}")]


def test_tools_that_a_client_found_on_the_way_count_as_offered() -> None:
    read = asked(
        tools=[function("f")],
        input=[
            {"role": "user", "content": "Hi"},
            {"type": "additional_tools", "role": "developer", "tools": [function("f"), function("g")]},
        ],
    )
    assert [tool.name for tool in read.tools] == ["f", "g"]
    assert len(read.turns) == 1


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", ("f",))),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", ("f",))),
        ({"type": "custom", "name": "f"}, ToolChoice("tool", ("f",))),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [function("f"), function("g")]},
            ToolChoice("allowed", ("f", "g"), must_call=True),
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [function("f")]}, ToolChoice("allowed", ("f",))),
    ],
)
def test_tool_choice(choice: Any, read: ToolChoice) -> None:
    assert asked(tools=[function("f"), function("g")], tool_choice=choice).tool_choice == read
    assert asked(tool_choice=choice).tool_choice is None


def test_settings_are_read() -> None:
    read = asked(
        max_output_tokens=300,
        temperature=0.5,
        top_p=0.9,
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "detailed"},
        text={"verbosity": "low", "format": {"type": "json_object"}},
        include=["reasoning.encrypted_content"],
        top_logprobs=3,
        metadata={"a": "b"},
        safety_identifier="u1",
        prompt_cache_key="k",
        stream=True,
    )
    assert (read.max_tokens, read.parallel_tools, read.is_stream, read.cache_key) == (300, False, True, "k")
    assert (read.tuning.temperature, read.tuning.top_p, read.tuning.verbosity) == (0.5, 0.9, "low")
    assert (read.tuning.user, bytes(read.tuning.metadata or b"")) == ("u1", b'{"a": "b"}')
    assert read.reasoning == Reasoning(effort="low", summary="detailed")
    assert (read.output_format, read.wants_encrypted_reasoning, read.logprobs) == (OutputFormat("json"), True, 3)
    assert read.unread == ()
    assert read.name_of("user") == "safety_identifier"
    assert asked(user="u2").name_of("user") == "user"


def test_a_schema_for_the_answer() -> None:
    shape = {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True, "description": "A"}
    read = asked(text={"format": shape}).output_format
    assert read is not None
    assert (read.kind, read.name, read.description, read.is_strict) == ("schema", "city", "A", True)
    assert isinstance(read.schema, Raw)
    assert bytes(read.schema) == b'{"type": "object"}'
    assert asked(text={"format": {"type": "text"}}).output_format is None


def test_log_probabilities_are_wanted_by_either_field() -> None:
    assert asked(include=["message.output_text.logprobs"]).logprobs == 0
    assert asked(top_logprobs=0).logprobs is None


def test_tool_definitions_compare_by_name() -> None:
    assert isinstance(asked(tools=[function("f")]).tools[0], Tool)
