"""A plain Responses reply, in and out of the hub."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from openai.types.responses import Response

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending, StopReason
from apps.dialects.hub.conversation import Conversation, Image, Reasoning, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import ANTHROPIC, ENCRYPTED, OPENAI, SIGNATURE, Seal
from apps.dialects.registry import CALLERS, UPSTREAMS
from tests.dialects.bodies import parse

CALLER = CALLERS["openai-responses"]
UPSTREAM = UPSTREAMS["openai-responses"]

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 107,
}
METERED = TokenUsage(input=30, cache_read=60, cache_write_5m=10, output=7, reasoning=5)
SEARCHED = replace(METERED, server_tool_requests=1)
SEAL = Seal(OPENAI, ENCRYPTED, "gAAA", "rs_1")
FOREIGN = Seal(ANTHROPIC, SIGNATURE, "EqQB/+=")


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": [], **more}


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(content)}


def reply(*output: dict[str, Any], status: str = "completed", **more: Any) -> bytes:
    return json.dumps(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 1700000000.0,
            "status": status,
            "output": output,
            "usage": USAGE,
            **more,
        }
    ).encode()


def read(*output: dict[str, Any], **more: Any) -> Answer:
    return UPSTREAM.read_answer(reply(*output, **more))


def shown(*parts: AnswerPart, ending: Ending | None = None, asked: Conversation | None = None) -> dict[str, Any]:
    answer = Answer("chatcmpl-68a72e32db2c", [Choice(list(parts), ending or Ending("end"))], METERED, 1_700_000_000)
    raw = CALLER.write_answer(answer, asked or Conversation([]), model_id="gpt-5-5", hypereal=b'{"billing":{}}')
    decoded: dict[str, Any] = json.loads(raw)
    return decoded


def test_everything_that_was_said_is_read() -> None:
    answer = read(
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "gAAA",
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        message(text("Hello", logprobs=[{"token": "Hello"}]), {"type": "refusal", "refusal": "No."}),
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "patch", "input": "*** Begin"},
        {"type": "image_generation_call", "id": "ig_1", "result": "UklG", "output_format": "webp"},
        {"type": "something_new", "name": {"not": "a string"}},
    )
    assert (answer.id, answer.created_s, answer.usage, answer.failure) == ("resp_1", 1_700_000_000, SEARCHED, None)
    (choice,) = answer.choices
    assert choice.parts == [
        Thinking("Hm.", SEAL, is_summary=True, id="rs_1"),
        Text("Hello"),
        Refusal("No."),
        ToolCall("c1", "f", '{"a": 1}'),
        ToolCall("c2", "patch", "*** Begin", is_custom=True),
        Image("image/webp", "UklG"),
    ]
    assert (choice.ending, choice.logprobs) == (Ending("tools", native="completed"), [{"token": "Hello"}])


def incomplete(reason: str) -> dict[str, Any]:
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


@pytest.mark.parametrize(
    ("output", "more", "ending"),
    [
        (message(text("Hi")), {}, Ending("end", native="completed")),
        (message({"type": "refusal", "refusal": "No."}), {}, Ending("refusal", native="completed")),
        (message(text("Hi")), incomplete("max_output_tokens"), Ending("length", native="max_output_tokens")),
        (message(text("Hi")), incomplete("content_filter"), Ending("filtered", native="content_filter")),
        (message(text("Hi")), incomplete("steered"), Ending("other", native="steered")),
        (message(text("Hi")), {"status": "incomplete"}, Ending("other", native="incomplete")),
    ],
)
def test_how_it_ended(output: dict[str, Any], more: dict[str, Any], ending: Ending) -> None:
    assert read(output, **more).choices[0].ending == ending


@pytest.mark.parametrize(
    ("more", "failure"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "Bang"}}, "Bang"),
        ({"status": "cancelled"}, "The upstream ended the response with status cancelled."),
        ({"error": {"message": "Bang"}}, "Bang"),
    ],
)
def test_a_failed_response_is_a_failure(more: dict[str, Any], failure: str) -> None:
    answer = read(message(text("Hi")), **more)
    assert (answer.failure, answer.choices, answer.usage) == (failure, [], None)


@pytest.mark.parametrize(
    "body", [b"junk", b"[]", b'{"status":"completed"}', b'{"output":[{"type":"message","content":7}]}']
)
def test_what_is_no_response_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        UPSTREAM.read_answer(body)


def test_the_official_sdk_reads_what_is_written() -> None:
    written = shown(
        Thinking("Hm.", FOREIGN),
        Text("Hello "),
        Text("world."),
        ToolCall("c1", "f", ""),
        Refusal("No."),
        ending=Ending("tools"),
    )
    response = Response.model_validate(written)
    assert response.output_text == "Hello world."
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "message"]
    assert (response.id, response.model, response.status) == ("resp_68a72e32db2c", "gpt-5-5", "completed")
    assert response.usage is not None
    assert response.usage.model_dump(exclude_none=True) == USAGE
    assert written["hypereal"] == {"billing": {}}
    ids = [item["id"] for item in written["output"]]
    assert ids == ["rs_hypereal_68a72e32db2c_0", "msg_68a72e32db2c_1", "fc_68a72e32db2c_2", "msg_68a72e32db2c_3"]
    assert written["output"][2]["arguments"] == "{}"


def test_what_the_caller_asked_for_is_repeated() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}]
    asked = CALLER.read_conversation(
        parse("responses", tools=tools, tool_choice="auto", instructions="Be kind.", temperature=0.5, metadata=None)
    )
    written = shown(Text("Hi"), asked=asked)
    response = Response.model_validate(written)
    assert (written["tools"], response.instructions, response.temperature) == (tools, "Be kind.", 0.5)
    assert (response.tool_choice, response.metadata, response.parallel_tool_calls) == ("auto", {}, True)


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("end", "completed", None),
        ("stop_sequence", "completed", None),
        ("tools", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("filtered", "incomplete", {"reason": "content_filter"}),
        ("pause", "incomplete", {"reason": "pause_turn"}),
        ("other", "incomplete", {"reason": "their_word"}),
    ],
)
def test_no_ending_is_folded_into_another(reason: StopReason, status: str, details: dict[str, str] | None) -> None:
    written = shown(Text("Hi"), ending=Ending(reason, native="their_word"))
    assert (written["status"], written["incomplete_details"]) == (status, details)


def test_a_refusal_without_words_is_given_some() -> None:
    written = shown(ending=Ending("refusal", details={"explanation": "Not that."}))
    assert written["output"][0]["content"] == [{"type": "refusal", "refusal": "Not that."}]
    written = shown(Text("I"), ending=Ending("refusal"))
    assert [part["type"] for part in written["output"][0]["content"]] == ["output_text", "refusal"]
    assert written["output"][0]["content"][1]["refusal"] == "The model declined to answer."


def test_seals_travel_verbatim_and_come_back() -> None:
    own, foreign = shown(Thinking("Hm.", SEAL, is_summary=True, id="rs_1"), Thinking("Ha.", FOREIGN))["output"]
    assert (own["id"], own["encrypted_content"]) == ("rs_1", "gAAA")
    assert foreign["encrypted_content"] == "hypereal.anthropic.signature.EqQB/+="
    turns = CALLER.read_conversation(parse("responses", input=[own, foreign, message(text("Yes."))])).turns
    assert turns[0].parts == [Thinking("Hm.", SEAL, is_summary=True, id="rs_1"), Thinking("Ha.", FOREIGN), Text("Yes.")]


@pytest.mark.parametrize(("summary", "member"), [("auto", "summary"), ("", "content"), ("omitted", "content")])
def test_reasoning_stands_where_the_client_looks_for_it(summary: str, member: str) -> None:
    asked = Conversation([], reasoning=Reasoning(summary=summary))
    (item,) = shown(Thinking("Hm."), asked=asked)["output"]
    assert item[member][0]["text"] == "Hm."


def test_grouped_and_native_tools_are_called_as_they_were_offered() -> None:
    tools = [
        {"type": "namespace", "name": "agents", "description": "", "tools": [{"type": "function", "name": "spawn"}]},
        {"type": "local_shell"},
        {"type": "apply_patch"},
    ]
    asked = CALLER.read_conversation(parse("responses", tools=tools))
    spawn, shell, patch, broken = shown(
        ToolCall("c1", "spawn", "{}"),
        ToolCall("c2", "local_shell", '{"type":"exec","command":["ls"],"env":{}}'),
        ToolCall("c3", "apply_patch", '{"type":"delete_file","path":"a"}'),
        ToolCall("c4", "local_shell", "ls"),
        asked=asked,
    )["output"]
    assert (spawn["type"], spawn["name"], spawn["namespace"], spawn["call_id"]) == (
        "function_call",
        "spawn",
        "agents",
        "c1",
    )
    assert (shell["type"], shell["call_id"], shell["action"]["command"]) == ("local_shell_call", "c2", ["ls"])
    assert (patch["type"], patch["call_id"], patch["operation"]["path"]) == ("apply_patch_call", "c3", "a")
    assert (broken["type"], broken["arguments"]) == ("function_call", "ls")
    Response.model_validate(shown(ToolCall("c3", "apply_patch", '{"type":"delete_file","path":"a"}'), asked=asked))


def test_a_drawn_image() -> None:
    (item,) = shown(Image("image/webp", "UklG"))["output"]
    assert (item["type"], item["result"], item["output_format"]) == ("image_generation_call", "UklG", "webp")


def test_citations_of_this_protocol_are_kept_and_others_are_not() -> None:
    own = {"type": "url_citation", "url": "https://example.com", "start_index": 0, "end_index": 2, "title": "A"}
    other = {"type": "char_location", "cited_text": "x"}
    chat = {"type": "url_citation", "url_citation": {"url": "https://example.com"}}
    (item,) = shown(Text("Hi", citations=[own, other, chat]))["output"]
    assert item["content"][0]["annotations"] == [own]


def test_ids_are_made_where_the_upstream_has_none() -> None:
    first, second = (CALLER.write_answer(Answer("", []), Conversation([]), model_id="m", hypereal=b"{}") for _ in "ab")
    assert json.loads(first)["id"].startswith("resp_")
    assert json.loads(first)["id"] != json.loads(second)["id"]
    call = Choice([ToolCall("", "f", "")], Ending("tools"))
    written = json.loads(CALLER.write_answer(Answer("", [call]), Conversation([]), model_id="m", hypereal=b"{}"))
    assert written["output"][0]["call_id"].startswith("call_")
    assert written["created_at"] > 1_700_000_000


def test_calls_with_one_id_are_told_apart() -> None:
    """The official SDK gives up on a response that has an id twice."""
    first, second = shown(ToolCall("0", "f", ""), ToolCall("0", "g", ""))["output"]
    assert (first["call_id"], second["call_id"]) == ("0", "call_68a72e32db2c_1")
