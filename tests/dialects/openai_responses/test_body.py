"""What an upstream of the Responses API is asked, for callers of any protocol."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import Raw

from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apps.dialects.hub.reasoning import ANTHROPIC, ENCRYPTED, OPENAI, SIGNATURE, Seal
from apps.dialects.protocol import UnsupportedField
from apps.dialects.registry import UPSTREAMS

UPSTREAM = UPSTREAMS["openai-responses"]
SEAL = Seal(OPENAI, ENCRYPTED, "gAAA", "rs_1")


def user(*parts: Part) -> Turn:
    return Turn("user", list(parts), field="messages[0]")


def assistant(*parts: Part) -> Turn:
    return Turn("assistant", list(parts), field="messages[1]")


def body(conversation: Conversation, *, model: str = "gpt-5.5", max_tokens: int | None = None) -> dict[str, Any]:
    raw = UPSTREAM.write_conversation(conversation, upstream_model=model, max_tokens=max_tokens, account_tag="acc")
    decoded: dict[str, Any] = json.loads(raw)
    return decoded


def items(*turns: Turn, model: str = "gpt-5.5") -> list[Any]:
    found: list[Any] = body(Conversation(list(turns)), model=model)["input"]
    return found


def test_the_least_that_is_sent() -> None:
    assert body(Conversation([user(Text("Hi"))])) == {
        "model": "gpt-5.5",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }


def test_a_first_text_of_the_system_becomes_the_instructions() -> None:
    sent = body(Conversation([Turn("system", [Text("Be kind.")]), user(Text("Hi"))]))
    assert sent["instructions"] == "Be kind."
    assert [item["role"] for item in sent["input"]] == ["user"]


@pytest.mark.parametrize(
    "turn",
    [
        Turn("developer", [Text("Be kind.")]),
        Turn("system", [Text("Be"), Text("kind.")]),
        Turn("system", [Text("Be kind.", cache=CacheMark())]),
    ],
)
def test_other_turns_of_the_system_stay_in_their_place(turn: Turn) -> None:
    sent = body(Conversation([turn, user(Text("Hi")), turn]))
    assert "instructions" not in sent
    assert [item["role"] for item in sent["input"]] == [turn.role, "user", turn.role]


def test_images_and_files() -> None:
    (item,) = items(
        user(
            Image("image/png", "iVBO", detail="low"),
            Image(url="https://example.com/a.png"),
            Document("application/pdf", "JVBE"),
            Document("application/pdf", "JVBE", name="a.pdf"),
            Document(url="https://example.com/a.pdf"),
        )
    )
    assert item["content"] == [
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
        {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    ]


def test_a_document_of_plain_text_is_said_as_text() -> None:
    asked = Conversation([user(Document(text="Once.", name="Tale", context="Old.", wants_citations=True))])
    (item,) = body(asked)["input"]
    assert item["content"] == [{"type": "input_text", "text": "Tale\nOld.\n\nOnce."}]
    assert asked.adapted == ["messages[0].content[0].citations: left out", "messages[0].content[0]: document -> text"]


def test_calls_and_results_are_items_of_their_own() -> None:
    sent = items(
        assistant(Text("Let me see."), ToolCall("c1", "f", '{"a": 1}'), ToolCall("c2", "g", "")),
        user(ToolResult("c1", [Text("one")]), ToolResult("c2", [], is_error=True), Text("So?")),
    )
    assert sent == [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": "", "status": "incomplete"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So?"}]},
    ]


def test_results_may_hold_images() -> None:
    (item,) = items(user(ToolResult("c", [Text("See"), Image("image/png", "iVBO")])))
    assert item["output"] == [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "auto"},
    ]


def test_ids_too_long_for_providers_are_shortened_alike() -> None:
    call, result = items(assistant(ToolCall("x" * 65, "f", "")), user(ToolResult("x" * 65, [Text("")])))
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) <= 64


CUSTOM = [
    assistant(ToolCall("c", "patch", "*** Begin", is_custom=True)),
    user(ToolResult("c", [Text("done")], is_custom=True)),
]


def test_free_text_tools_are_known_here() -> None:
    asked = Conversation(CUSTOM, [Tool("patch", is_custom=True, format=Raw(b'{"type":"text"}'))])
    sent = body(asked)
    assert sent["tools"] == [{"type": "custom", "name": "patch", "format": {"type": "text"}}]
    assert sent["input"] == [
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
    ]


def test_free_text_tools_are_functions_where_the_provider_knows_no_others() -> None:
    asked = Conversation(CUSTOM, [Tool("patch", is_custom=True)])
    sent = body(asked, model="deepseek-v4-flash")
    assert sent["tools"][0]["type"] == "function"
    assert [item["type"] for item in sent["input"]] == ["function_call", "function_call_output"]
    assert json.loads(sent["input"][0]["arguments"]) == {"input": "*** Begin"}
    assert asked.sent == {"patch": asked.tools[0]}


def test_names_that_providers_refuse_are_replaced_everywhere() -> None:
    tool = Tool("mcp.search", schema=Raw(b'{"type":"object"}'))
    sent = body(
        Conversation(
            [assistant(ToolCall("c", "mcp.search", ""))], [tool], tool_choice=ToolChoice("tool", ("mcp.search",))
        )
    )
    name = sent["tools"][0]["name"]
    assert name.isidentifier()
    assert (sent["input"][0]["name"], sent["tool_choice"]["name"]) == (name, name)


@pytest.mark.parametrize(("is_strict", "sent"), [(None, False), (False, False), (True, True)])
def test_a_schema_is_strict_only_where_the_caller_said_so(is_strict: bool | None, sent: bool) -> None:
    tool = Tool("f", "Does.", Raw(b'{"type":"object"}'), is_strict)
    assert body(Conversation([user(Text("Hi"))], [tool]))["tools"] == [
        {"type": "function", "name": "f", "description": "Does.", "parameters": {"type": "object"}, "strict": sent}
    ]


def test_a_tool_without_a_schema_takes_no_arguments() -> None:
    (tool,) = body(Conversation([user(Text("Hi"))], [Tool("f")]))["tools"]
    assert tool == {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("tool", ("f",)), {"type": "function", "name": "f"}),
        (ToolChoice("tool", ("c",)), {"type": "custom", "name": "c"}),
        (
            ToolChoice("allowed", ("f", "c"), must_call=True),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
            },
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, sent: Any) -> None:
    asked = Conversation([user(Text("Hi"))], [Tool("f"), Tool("c", is_custom=True)], choice, parallel_tools=False)
    assert (body(asked)["tool_choice"], body(asked)["parallel_tool_calls"]) == (sent, False)


def test_reasoning_sealed_here_goes_back_verbatim() -> None:
    thought, _ = items(assistant(Thinking("Hm.", SEAL, is_summary=True, id="rs_1"), Text("Yes.")))
    assert thought == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "gAAA",
    }
    thought, _ = items(assistant(Thinking(seal=replace(SEAL, item_id="")), ToolCall("c", "f", "")))
    assert thought == {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}


@pytest.mark.parametrize(
    "thought",
    [
        Thinking("Hm.", Seal(ANTHROPIC, SIGNATURE, "EqQB")),
        Thinking(seal=Seal("gemini", ENCRYPTED, "CiQB", "c")),
        Thinking("Hm."),
    ],
)
def test_stale_or_foreign_reasoning_never_goes_upstream(thought: Thinking) -> None:
    asked = Conversation([user(Text("Hi")), assistant(thought, Text("Yes."))])
    sent = body(asked)
    assert [item["type"] for item in sent["input"]] == ["message", "message"]
    assert asked.adapted == ["messages[1].content[0] reasoning: left out"]
    assert "EqQB" not in json.dumps(sent)


def test_reasoning_without_what_it_led_to_is_left_out() -> None:
    asked = Conversation([assistant(Thinking(seal=SEAL)), user(Text("Go on."))])
    assert [item["type"] for item in body(asked)["input"]] == ["message"]
    assert asked.adapted == ["reasoning without what it led to: left out"]


def test_reasoning_in_the_open_goes_back_to_models_that_want_it() -> None:
    thought, _ = items(assistant(Thinking("Hm.", id="r1"), Text("Yes.")), model="deepseek-v4-flash")
    assert thought == {
        "type": "reasoning",
        "id": "r1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
    }


def test_refusals_and_drawings_of_the_model() -> None:
    asked = Conversation([assistant(Refusal("No."), Image("image/png", "iVBO"), Text("See above."))])
    assert body(asked)["input"] == [
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "auto"}],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "See above.", "annotations": []}],
        },
    ]
    assert asked.adapted == ["messages[1].content[1]: moved to a user message"]


def test_a_file_in_a_place_that_cannot_hold_it_is_refused() -> None:
    with pytest.raises(UnsupportedField) as refused:
        items(user(ToolCall("c", "f", "")))
    assert refused.value.param == "messages[0].content[0]"


MARKED = [
    user(Text("Hi", cache=CacheMark("1h"))),
    user(ToolResult("c1", [Text("x"), Text("y")], cache=CacheMark()), ToolResult("c2", [Text("x", cache=CacheMark())])),
]


@pytest.mark.parametrize("model", ["gpt-5.6", "openai/gpt-6"])
def test_cache_marks_go_to_models_that_take_them(model: str) -> None:
    asked = Conversation(MARKED)
    message, first, second = body(asked, model=model)["input"]
    assert message["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit", "ttl": "12h"}
    assert first["output"][1] == {"type": "input_text", "text": "y", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert second["output"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert asked.adapted == ["cache: 1h -> 12h"]


@pytest.mark.parametrize("model", ["gpt-5.5", "theirs"])
def test_other_models_cache_by_themselves(model: str) -> None:
    asked = Conversation(MARKED, [Tool("f", cache=CacheMark())], names={"cache": "cache_control"})
    sent = body(asked, model=model)
    assert "prompt_cache_breakpoint" not in json.dumps(sent)
    assert sent["input"][2]["output"] == "x"
    assert asked.adapted == ["cache_control: left out"]
