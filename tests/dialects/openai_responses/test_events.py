"""An upstream's Responses stream, as the hub understands it."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.tokens import TokenUsage
from apps.dialects.common.sse import Splitter
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Conversation, Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.events import (
    Begin,
    BlockBegin,
    BlockEnd,
    Cited,
    Delta,
    Done,
    Drawn,
    Ended,
    Failed,
    HubEvent,
    Sealed,
    UsageRead,
)
from apps.dialects.hub.reasoning import ENCRYPTED, OPENAI, Seal
from apps.dialects.registry import UPSTREAMS
from tests.dialects.bodies import frames, typed
from tests.dialects.hub.streams import Collector, read_stream

UPSTREAM = UPSTREAMS["openai-responses"]
USAGE = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
SEAL = Seal(OPENAI, ENCRYPTED, "gAAA", "rs_1")

Fields = dict[str, Any]


def response(status: str = "in_progress", **more: Any) -> Fields:
    return {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": status, "output": [], **more}


CREATED: Fields = {"type": "response.created", "response": response()}
COMPLETED: Fields = {"type": "response.completed", "response": response("completed", usage=USAGE)}
ENDED: list[HubEvent] = [
    UsageRead(TokenUsage(input=12, output=5)),
    Ended(Ending("end", native="completed")),
    Done(),
]


def added(index: int, **item: Any) -> Fields:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, **item: Any) -> Fields:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(kind: str, text: str, *, item: int = 0, part: int = 0, **more: Any) -> Fields:
    return {"type": f"response.{kind}.delta", "output_index": item, "content_index": part, "delta": text, **more}


def part_done(text: str, *, item: int = 0, part: int = 0, **more: Any) -> Fields:
    content = {"type": "output_text", "text": text, "annotations": [], **more}
    return {"type": "response.content_part.done", "output_index": item, "content_index": part, "part": content}


def message(*content: Fields) -> Fields:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(content)}


def text(said: str, **more: Any) -> Fields:
    return {"type": "output_text", "text": said, "annotations": [], **more}


def events(*sent: Fields, asked: Conversation | None = None) -> list[HubEvent]:
    reader = UPSTREAM.stream_reader(asked or Conversation([]))
    found: list[HubEvent] = []
    for event in Splitter().feed(typed(*sent)):
        found += reader.feed(event)
    return [*found, *reader.end()]


def collected(*sent: Fields) -> Collector:
    return read_stream(UPSTREAM.stream_reader(Conversation([])), typed(*sent))


def test_a_text_comes_in_pieces() -> None:
    assert events(
        CREATED,
        {"type": "response.in_progress", "response": response()},
        added(0, **message()),
        {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": text("")},
        delta("output_text", "Hel", obfuscation="xyz", logprobs=[]),
        delta("output_text", "lo"),
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hello"},
        part_done("Hello"),
        done(0, **message(text("Hello"))),
        COMPLETED,
    ) == [
        Begin("resp_1", 1_700_000_000),
        BlockBegin(0, "text"),
        Delta(0, "Hel"),
        Delta(0, "lo"),
        BlockEnd(0),
        *ENDED,
    ]


def test_calls_tell_their_arguments_in_pieces_and_may_interleave() -> None:
    assert events(
        CREATED,
        added(0, type="function_call", call_id="c1", name="f", arguments=""),
        added(1, type="custom_tool_call", call_id="c2", name="patch", input=""),
        delta("function_call_arguments", '{"a"'),
        delta("custom_tool_call_input", "***", item=1),
        delta("function_call_arguments", ":1}"),
        {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'},
        done(1, type="custom_tool_call", call_id="c2", name="patch", input="***"),
        done(0, type="function_call", call_id="c1", name="f", arguments='{"a":1}'),
        COMPLETED,
    )[1:-2] == [
        BlockBegin(0, "tool_call", id="c1", name="f"),
        BlockBegin(1, "tool_call", id="c2", name="patch", is_custom=True),
        Delta(0, '{"a"'),
        Delta(1, "***"),
        Delta(0, ":1}"),
        BlockEnd(1),
        BlockEnd(0),
        UsageRead(TokenUsage(input=12, output=5)),
    ]


def test_a_summary_is_one_thought_and_its_seal_comes_last() -> None:
    assert events(
        CREATED,
        added(0, type="reasoning", id="rs_1", summary=[]),
        {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0},
        delta("reasoning_summary_text", "A", summary_index=0),
        delta("reasoning_summary_text", "B", summary_index=1),
        done(0, type="reasoning", id="rs_1", summary=[{"text": "A"}, {"text": "B"}], encrypted_content="gAAA"),
        COMPLETED,
    )[1:-3] == [
        BlockBegin(0, "thinking", id="rs_1", is_summary=True),
        Delta(0, "A"),
        Delta(0, "\n\nB"),
        Sealed(0, SEAL),
        BlockEnd(0),
    ]


def test_reasoning_in_the_open_and_reasoning_that_is_only_sealed() -> None:
    assert collected(
        CREATED,
        added(0, type="reasoning", id="r1", summary=[], content=[]),
        {
            "type": "response.content_part.added",
            "output_index": 0,
            "content_index": 0,
            "part": {"type": "reasoning_text"},
        },
        delta("reasoning_text", "Hm"),
        delta("reasoning_text", "."),
        {
            "type": "response.content_part.done",
            "output_index": 0,
            "content_index": 0,
            "part": {"type": "reasoning_text", "text": "Hm."},
        },
        added(1, **message()),
        delta("output_text", "Yes.", item=1),
        done(1, **message(text("Yes."))),
        done(0, type="reasoning", id="r1", summary=[], content=[{"type": "reasoning_text", "text": "Hm."}]),
        added(2, type="reasoning", id="rs_1", summary=[]),
        done(2, type="reasoning", id="rs_1", summary=[], encrypted_content="gAAA"),
        added(3, type="reasoning", id="rs_2", summary=[]),
        done(3, type="reasoning", id="rs_2", summary=[]),
        COMPLETED,
    ).collected().choices[0].parts == [Thinking("Hm.", id="r1"), Text("Yes."), Thinking(seal=SEAL, id="rs_1")]


def test_refusals_and_several_parts_of_a_message() -> None:
    answer = collected(
        CREATED,
        added(0, **message()),
        delta("output_text", "Well."),
        part_done("Well."),
        delta("refusal", "No", part=1),
        delta("refusal", ".", part=1),
        done(0, **message(text("Well."), {"type": "refusal", "refusal": "No."})),
        COMPLETED,
    ).collected()
    assert answer.choices[0].parts == [Text("Well."), Refusal("No.")]
    assert answer.choices[0].ending == Ending("refusal", native="completed")


def test_annotations_and_log_probabilities() -> None:
    cited = {"type": "url_citation", "url": "https://example.com"}
    annotation = {
        "type": "response.output_text.annotation.added",
        "output_index": 0,
        "content_index": 0,
        "annotation": cited,
    }
    sent = (CREATED, delta("output_text", "Hi", logprobs=[{"token": "Hi"}]), annotation, COMPLETED)
    assert events(*sent)[2:4] == [Delta(0, "Hi"), Cited(0, cited)]
    assert events(*sent, asked=Conversation([], logprobs=0))[2] == Delta(0, "Hi", logprobs=[{"token": "Hi"}])


def test_a_drawn_image_comes_whole() -> None:
    item = {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "result": "UklG",
        "output_format": "webp",
    }
    partial = {"type": "response.image_generation_call.partial_image", "output_index": 0, "partial_image_b64": "AA"}
    assert Drawn(Image("image/webp", "UklG")) in events(CREATED, added(0, **item), partial, done(0, **item), COMPLETED)


def test_what_never_came_in_pieces_is_taken_from_the_item() -> None:
    """Some providers that imitate this protocol tell an item only when it is done."""
    answer = collected(
        CREATED,
        done(0, **message(text("Hello", annotations=[{"type": "file_path"}]))),
        done(1, type="function_call", call_id="c1", name="f", arguments='{"a":1}'),
        done(2, type="reasoning", id="rs_1", summary=[{"text": "Hm."}], encrypted_content="gAAA"),
        COMPLETED,
    ).collected()
    assert answer.choices[0].parts == [
        Text("Hello"),
        ToolCall("c1", "f", '{"a":1}'),
        Thinking("Hm.", SEAL, is_summary=True, id="rs_1"),
    ]
    assert answer.choices[0].ending.reason == "tools"


def test_what_never_came_at_all_is_taken_from_the_response() -> None:
    whole = {**COMPLETED, "response": response("completed", usage=USAGE, output=[message(text("Hello"))])}
    answer = collected(whole).collected()
    assert (answer.id, answer.choices[0].parts) == ("resp_1", [Text("Hello")])
    open_still = (CREATED, added(0, **message()), delta("output_text", "Hello"), whole)
    assert collected(*open_still).collected().choices[0].parts == [Text("Hello")]


def test_hosted_calls_and_unknown_events_are_passed_over() -> None:
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    end = {**COMPLETED, "response": response("completed", usage=USAGE, output=[searched])}
    found = events(
        CREATED,
        added(0, type="web_search_call", id="ws_1", call_id=None, name=None),
        {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"},
        {"type": "response.brand_new.delta", "delta": {"not": "text"}},
        done(0, **searched),
        end,
    )
    assert found[1] == UsageRead(TokenUsage(input=12, output=5, server_tool_requests=1))
    assert len(found) == 4


@pytest.mark.parametrize("name", ["", "message"])
def test_events_are_known_by_their_type_where_they_have_no_name(name: str) -> None:
    reader = UPSTREAM.stream_reader(Conversation([]))
    sent = frames(*((name, event) for event in (CREATED, delta("output_text", "Hi"), COMPLETED)), "[DONE]")
    assert read_stream(reader, sent).collected().choices[0].parts == [Text("Hi")]


@pytest.mark.parametrize(
    ("reason", "ending"),
    [("max_output_tokens", "length"), ("content_filter", "filtered"), ("steered", "other")],
)
def test_an_incomplete_response_says_why(reason: str, ending: str) -> None:
    end = response("incomplete", incomplete_details={"reason": reason}, usage=USAGE)
    answer = collected(
        CREATED, delta("output_text", "Hi"), {"type": "response.incomplete", "response": end}
    ).collected()
    assert (answer.choices[0].ending.reason, answer.choices[0].ending.native) == (ending, reason)
    assert answer.usage == TokenUsage(input=12, output=5)


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "Bang"}, Failed("Bang", is_overload=True)),
        ({"type": "error", "error": {"code": "server_error", "message": "Bang"}}, Failed("Bang")),
        (
            {"type": "response.failed", "response": response("failed", error={"code": "slow_down", "message": "Bang"})},
            Failed("Bang", is_overload=True),
        ),
        ({"type": "response.failed", "response": {}}, Failed("The upstream ended the stream with an error.")),
        (
            {"type": "response.cancelled", "response": response("cancelled")},
            Failed("The upstream ended the stream with an error."),
        ),
    ],
)
def test_failures(event: Fields, failure: Failed) -> None:
    assert events(CREATED, event)[-1] == failure
    unnamed = UPSTREAM.stream_reader(Conversation([]))
    assert read_stream(unnamed, frames(CREATED, event)).failure == failure


def test_an_error_without_a_type_is_one() -> None:
    reader = UPSTREAM.stream_reader(Conversation([]))
    assert read_stream(reader, frames({"error": {"message": "Bang"}})).failure == Failed("Bang")


@pytest.mark.parametrize("upto", range(1, 5))
def test_a_stream_that_ends_early_is_not_done(upto: int) -> None:
    sent = (CREATED, added(0, **message()), delta("output_text", "Hi"), part_done("Hi"), done(0, **message(text("Hi"))))
    assert not collected(*sent[:upto]).is_done


@pytest.mark.parametrize(
    "data", ["junk", "[1]", '{"type":"response.output_text.delta"}', '{"type":"response.output_item.done","item":7}']
)
def test_what_cannot_be_read_is_an_error(data: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_stream(UPSTREAM.stream_reader(Conversation([])), f"data: {data}\n\n".encode())
