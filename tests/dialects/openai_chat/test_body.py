"""A Conversation as a chat request: in the shape that the strictest provider takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Tuning,
    Turn,
)
from apps.dialects.hub.reasoning import Seal
from apps.dialects.openai_chat.body import write_conversation
from apps.dialects.protocol import UnsupportedField


def body(conversation: Conversation, max_tokens: int | None = None, *, model: str = "theirs") -> dict[str, Any]:
    raw = write_conversation(conversation, upstream_model=model, max_tokens=max_tokens, account_tag="acc")
    decoded: dict[str, Any] = json.loads(raw)
    return decoded


def messages(*turns: Turn, **fields: Any) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = body(Conversation(list(turns), **fields))["messages"]
    return written


def user(*parts: Part) -> Turn:
    return Turn("user", list(parts), "messages[1]")


def assistant(*parts: Part) -> Turn:
    return Turn("assistant", list(parts), "messages[2]")


def test_developers_speak_as_the_system_because_few_providers_know_them() -> None:
    assert messages(Turn("developer", [Text("a")]), Turn("system", [Text("b"), Text("c")])) == [
        {"role": "system", "content": "a"},
        {"role": "system", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
    ]


def test_images_and_documents_are_written_as_data_urls() -> None:
    [message] = messages(
        user(
            Text("Look"),
            Image("image/png", "iVBO", detail="high"),
            Image(url="https://example.com/a.png"),
            Document("application/pdf", "JVBE", name="a.pdf"),
            Document(text="plain", name="notes.txt"),
        )
    )
    assert message["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "text", "text": "notes.txt\nplain"},
    ]


def test_a_document_by_address_is_refused_by_its_place() -> None:
    with pytest.raises(UnsupportedField) as refused:
        messages(user(Document(url="https://example.com/a.pdf")))
    assert refused.value.param == "messages[1].content"


def test_results_follow_their_calls_whatever_was_said_between_them() -> None:
    written = messages(
        assistant(ToolCall("c1", "shot", ""), ToolCall("c2", "read", '{"a":1}')),
        user(Text("Go on."), ToolResult("c1", [Text("done")])),
        user(ToolResult("c2", [])),
        user(Text("Now.")),
    )
    assert written == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "shot", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "read", "arguments": '{"a":1}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": "Go on."},
        {"role": "user", "content": "Now."},
    ]


def test_images_of_several_results_wait_until_the_last_result() -> None:
    conversation = Conversation(
        [
            assistant(ToolCall("c1", "shot", ""), ToolCall("c2", "read", "")),
            user(ToolResult("c1", [Text("done"), Image("image/png", "iVBO")])),
            user(ToolResult("c2", [Text("no such file")], is_error=True, name="read")),
            user(Text("Go on.")),
        ]
    )
    written = body(conversation)["messages"]
    assert written[1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
        {"role": "tool", "name": "read", "tool_call_id": "c2", "content": "Error: no such file"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What tool call c1 returned beside its text:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
                {"type": "text", "text": "Go on."},
            ],
        },
    ]
    assert conversation.adapted == [
        "files in tool results: moved to a user message",
        "is_error of tool results: as text",
    ]


def test_an_answer_in_pieces_is_one_message_again() -> None:
    written = messages(
        assistant(Thinking("hm")), assistant(Text("I look.")), assistant(ToolCall("c1", "f", "{}")), user(Text("x"))
    )
    assert written[0] == {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


def test_answers_that_follow_each_other_stay_two_unless_calls_wait_in_between() -> None:
    two = messages(assistant(Text("a.")), assistant(Text("b.")))
    assert [message["content"] for message in two] == ["a.", "b."]
    waiting = messages(
        assistant(Text("a."), ToolCall("c1", "f", "")), assistant(Text("b.")), user(ToolResult("c1", []))
    )
    assert [message["role"] for message in waiting] == ["assistant", "tool"]
    assert waiting[0]["content"] == "a.b."


def test_reasoning_goes_back_to_the_provider_that_sent_it_and_to_no_other() -> None:
    entry = '{"type":"reasoning.text","signature":"s","format":"anthropic-claude-v1"}'
    conversation = Conversation(
        [
            assistant(
                Thinking("own", Seal("chat", "signature", entry)),
                Thinking("theirs", Seal("anthropic", "signature", "EqQ=")),
                Text("4"),
            )
        ]
    )
    [message] = body(conversation)["messages"]
    assert message == {
        "role": "assistant",
        "content": "4",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "signature": "s",
                "format": "anthropic-claude-v1",
                "text": "own",
                "index": 0,
            }
        ],
    }
    assert conversation.adapted == ["reasoning of another provider: left out"]


def test_what_a_provider_put_beside_a_tool_call_stands_there_again() -> None:
    seal = Seal("chat", "encrypted", '{"google":{"thought_signature":"CiQ="}}', "c1")
    [message] = messages(assistant(Thinking(seal=seal), ToolCall("c1", "f", "{}")))
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "CiQ="}}
    assert "reasoning_details" not in message


def test_an_answer_of_which_nothing_is_left_is_no_message() -> None:
    assert messages(assistant(Thinking("t", Seal("anthropic", "signature", "E"))), user(Text("Hi"))) == [
        {"role": "user", "content": "Hi"}
    ]
    assert messages(assistant(Refusal("No.")))[0]["content"] == "No."


def test_cache_marks_are_kept_where_the_model_prices_them() -> None:
    turn = user(Text("a", CacheMark()), Text("b", CacheMark("1h")))
    kept = messages(turn)
    assert [part["cache_control"] for part in kept[0]["content"]] == [
        {"type": "ephemeral"},
        {"type": "ephemeral", "ttl": "1h"},
    ]
    plain = Conversation([turn], tools=[Tool("f", cache=CacheMark())], keeps_cache_marks=False)
    assert "cache_control" not in json.dumps(body(plain))
    assert plain.adapted == ["cache_control: left out"]
    whole = body(Conversation([user(Text("a"))], cache=CacheMark()))
    assert whole["messages"][0]["content"] == [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]


def test_tools_choice_and_format_are_written_in_full() -> None:
    written = body(
        Conversation(
            [user(Text("x"))],
            tools=[
                Tool("f", "does f", Raw(b'{"type":"object"}'), is_strict=True),
                Tool("mcp.search", cache=CacheMark("1h")),
                Tool("patch", is_custom=True),
            ],
            tool_choice=ToolChoice("allowed", ("f", "mcp.search"), must_call=True),
            parallel_tools=False,
            output_format=OutputFormat("schema", Raw(b'{"type":"object"}'), is_strict=True),
        )
    )
    function = {"name": "f", "description": "does f", "parameters": {"type": "object"}, "strict": True}
    assert written["tools"][0] == {"type": "function", "function": function}
    name = written["tools"][1]["function"]["name"]
    assert name.startswith("mcp_search_")
    assert written["tools"][1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert written["tools"][2]["function"]["parameters"]["required"] == ["input"]
    allowed = [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": name}}]
    assert written["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": allowed},
    }
    assert written["parallel_tool_calls"] is False
    assert written["response_format"]["json_schema"] == {
        "name": "response",
        "schema": {"type": "object"},
        "strict": True,
    }


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("tool", ("f",)), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choices(choice: ToolChoice, shown: Any) -> None:
    assert body(Conversation([], tools=[Tool("f")], tool_choice=choice))["tool_choice"] == shown


def test_calls_of_free_text_tools_are_calls_of_functions() -> None:
    [message] = messages(assistant(ToolCall("c1", "patch", "*** Begin", is_custom=True)))
    assert message["tool_calls"][0] == {
        "id": "c1",
        "type": "function",
        "function": {"name": "patch", "arguments": '{"input":"*** Begin"}'},
    }


def test_numbers_streams_and_keys() -> None:
    written = body(
        Conversation(
            [user(Text("x"))],
            max_tokens=100,
            stop=("A", "B"),
            n=2,
            logprobs=0,
            is_stream=True,
            cache_key="k",
            tuning=Tuning(temperature=0.5, top_p=0.9, seed=7, presence_penalty=1, frequency_penalty=-1, user="u1"),
        ),
        max_tokens=60,
    )
    del written["messages"]
    assert written == {
        "model": "theirs",
        "max_tokens": 60,
        "stop": ["A", "B"],
        "n": 2,
        "logprobs": True,
        "top_logprobs": 0,
        "prompt_cache_key": "acc:k",
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "user": "u1",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("deepseek-v4-pro", "max_tokens"),
        ("gpt-4.1", "max_tokens"),
        ("vendor/gpt-oss-120b", "max_tokens"),
        ("gpt-5.5", "max_completion_tokens"),
        ("openai/o4-mini", "max_completion_tokens"),
    ],
)
def test_the_maximum_has_the_name_that_the_model_takes(model: str, name: str) -> None:
    assert body(Conversation([], max_tokens=9), model=model)[name] == 9


def test_openais_reasoning_models_are_not_told_how_to_sample() -> None:
    tuning = Tuning(temperature=0.5, top_p=1, presence_penalty=0.5, seed=7, verbosity="low")
    conversation = Conversation([], tuning=tuning)
    assert body(conversation, model="gpt-5.5") == {"model": "gpt-5.5", "messages": [], "seed": 7, "verbosity": "low"}
    assert conversation.adapted == ["temperature: left out", "presence_penalty: left out"]


def test_openais_models_know_free_text_tools_and_their_own_word_for_a_cache_mark() -> None:
    conversation = Conversation(
        [user(Text("a", CacheMark("1h"))), assistant(ToolCall("c1", "patch", "*** Begin", is_custom=True))],
        tools=[Tool("patch", is_custom=True, format=Raw(b'{"type":"text"}'), cache=CacheMark())],
        tool_choice=ToolChoice("tool", ("patch",)),
    )
    written = body(conversation, model="gpt-5.6-sol")
    part = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}
    assert conversation.adapted == ["cache: 1h -> 12h"]
    assert written["messages"][0]["content"] == [part]
    assert written["messages"][1]["tool_calls"] == [
        {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    ]
    assert written["tools"] == [{"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}]
    assert written["tool_choice"] == {"type": "custom", "custom": {"name": "patch"}}
    assert conversation.sent == {}
    older = body(conversation, model="gpt-5.5")
    assert older["messages"][0]["content"] == "a"
    assert conversation.adapted == ["cache: 1h -> 12h", "cache_control: left out"]


def test_levels_are_those_that_the_model_knows() -> None:
    for model, asked, sent in (
        ("gpt-5.5", "max", "xhigh"),
        ("o3", "none", "low"),
        ("gpt-5", "none", "minimal"),
        ("deepseek-v4-pro", "max", "max"),
    ):
        conversation = Conversation([], reasoning=Reasoning(effort=asked))
        assert body(conversation, model=model)["reasoning_effort"] == sent
        assert conversation.adapted == ([f"reasoning: {asked} -> {sent}"] if asked != sent else [])
    plain = Conversation([], reasoning=Reasoning(effort="high"))
    assert "reasoning_effort" not in body(plain, model="gpt-4.1")
    assert plain.adapted == ["reasoning: left out"]


def test_a_result_of_files_alone_says_so() -> None:
    written = messages(user(ToolResult("c1", [Image("image/png", "iVBO")])))
    assert written[0] == {"role": "tool", "tool_call_id": "c1", "content": "The files follow."}


@pytest.mark.parametrize(
    ("wanted", "effort", "notes"),
    [
        (Reasoning(effort="xhigh"), "xhigh", []),
        (Reasoning(False), "none", []),
        (Reasoning(True, 10_000), "high", ["thinking: 10000 tokens -> high"]),
        (Reasoning(True), None, ["thinking: left out"]),
        (Reasoning(), None, []),
    ],
)
def test_reasoning_is_a_level(wanted: Reasoning, effort: str | None, notes: list[str]) -> None:
    conversation = Conversation([], reasoning=wanted, names={"reasoning": "thinking"})
    assert body(conversation).get("reasoning_effort") == effort
    assert conversation.adapted == notes


def test_tuning_that_chat_lacks_is_named() -> None:
    conversation = Conversation([], tuning=Tuning(temperature=3, top_k=4, metadata=Raw(b'{"a":"b"}')))
    assert body(conversation)["temperature"] == 2
    assert conversation.adapted == ["top_k: left out", "metadata: left out", "temperature: 3 -> 2"]


def test_an_image_request_names_modalities_and_config() -> None:
    written = body(Conversation([user(Text("A cat"))], makes_images=True, image_aspect="1:1", image_size="1K"))
    assert written["modalities"] == ["image", "text"]
    assert written["image_config"] == {"aspect_ratio": "1:1", "image_size": "1K"}
