"""A caller's Responses stream, whatever the upstream speaks; read by the official SDK's own accumulator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ParsedResponse, ResponseStreamEvent
from pydantic import TypeAdapter

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, Choice, Ending
from apps.dialects.hub.conversation import Conversation, Image, Reasoning, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.events import Begin, BlockBegin, BlockEnd, Cited, Delta, Drawn, Ended, HubEvent, Sealed
from apps.dialects.hub.protocol import StreamWriter
from apps.dialects.hub.reasoning import ANTHROPIC, ENCRYPTED, OPENAI, SIGNATURE, Seal
from apps.dialects.registry import CALLERS
from tests.dialects.bodies import events_of as frames_of
from tests.dialects.bodies import parse
from tests.dialects.hub.streams import events_of

CALLER = CALLERS["openai-responses"]
BILLING = b'{"billing":{"credits_charged":12}}'
USAGE = TokenUsage(input=7, cache_read=3, output=5)
BEGIN = Begin("chatcmpl-68a72e32db2c", 1_700_000_000)
END = Ended(Ending("end"))
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)

Frames = list[dict[str, Any]]


def writer(asked: Conversation | None = None) -> StreamWriter:
    return CALLER.stream_writer(parse("responses", stream=True), asked or Conversation([]), model_id="gpt-5-5")


def written(*events: HubEvent, asked: Conversation | None = None) -> Frames:
    """The whole stream, checked: its numbers, its order, and that the official SDK can make a response of it."""
    machine = writer(asked)
    sent = b"".join(machine.write(event) for event in (BEGIN, *events))
    frames = frames_of(sent + machine.finish(usage=USAGE, hypereal=BILLING))
    check(frames)
    return frames


def check(frames: Frames, *, read: Callable[[Any], Any] = EVENT.validate_python) -> ParsedResponse[None]:
    """`read` makes the SDK's event of a frame: strictly here, where the SDK itself would accept anything."""
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert [frame["type"] for frame in frames[:2]] == ["response.created", "response.in_progress"]
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=[], text_format=omit)
    for frame in frames:
        state.handle_event(read(frame))
    final: dict[str, Any] = frames[-1]["response"]
    assert final["output"] == [frame["item"] for frame in sorted_items(frames)]
    check_pieces(frames)
    assert state._completed_response is not None or frames[-1]["type"] != "response.completed"
    return ParsedResponse.construct(**final)


def sorted_items(frames: Frames) -> Frames:
    done = [frame for frame in frames if frame["type"] == "response.output_item.done"]
    return sorted(done, key=lambda frame: int(frame["output_index"]))


def check_pieces(frames: Frames) -> None:
    """Pieces make up the whole that their `done` event repeats; every item that began is done, once."""
    pieces: dict[tuple[Any, ...], str] = defaultdict(str)
    for frame in frames:
        kind = frame["type"]
        key = (kind.rpartition(".")[0], frame.get("item_id"), frame.get("content_index"))
        if kind.endswith(".delta"):
            pieces[key] += frame["delta"]
        elif kind.endswith((".output_text.done", "_text.done", "arguments.done", "input.done", "refusal.done")):
            member = next(name for name in ("text", "arguments", "input", "refusal") if name in frame)
            assert pieces[key] == frame[member]
    for opening, closing in (("output_item.added", "output_item.done"), ("content_part.added", "content_part.done")):
        begun = [place(frame) for frame in frames if frame["type"] == f"response.{opening}"]
        ended = [place(frame) for frame in frames if frame["type"] == f"response.{closing}"]
        assert sorted(begun) == sorted(ended)
        assert len(set(begun)) == len(begun)


def place(frame: dict[str, Any]) -> tuple[int, int]:
    return frame["output_index"], frame.get("content_index", -1)


def kinds(frames: Iterable[dict[str, Any]]) -> list[str]:
    return [frame["type"].removeprefix("response.") for frame in frames]


def text_block(block: int, *pieces: str) -> list[HubEvent]:
    return [BlockBegin(block, "text"), *(Delta(block, piece) for piece in pieces), BlockEnd(block)]


def test_every_event_of_a_text_in_order() -> None:
    frames = written(*text_block(0, "Hel", "lo"), END)
    assert kinds(frames) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert frames[4] == {
        "type": "response.output_text.delta",
        "sequence_number": 4,
        "item_id": "msg_68a72e32db2c_0",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hel",
        "logprobs": [],
    }
    final = frames[-1]["response"]
    assert (final["id"], final["model"], final["status"]) == ("resp_68a72e32db2c", "gpt-5-5", "completed")
    assert final["usage"]["input_tokens"] == 10
    assert final["hypereal"] == {"billing": {"credits_charged": 12}}
    assert ParsedResponse.model_validate(final).output_text == "Hello"


def test_the_end_waits_for_the_settlement_and_nothing_else_does() -> None:
    machine = writer()
    before = b"".join(machine.write(event) for event in (BEGIN, *text_block(0, "Hi"), END))
    assert kinds(frames_of(before))[-1] == "output_item.done"
    assert kinds(frames_of(machine.finish(usage=None, hypereal=BILLING))) == ["completed"]


def test_texts_in_a_row_are_parts_of_one_message() -> None:
    frames = written(
        *text_block(0, "a"),
        *text_block(1, "b"),
        BlockBegin(2, "refusal"),
        Delta(2, "No."),
        BlockEnd(2),
        BlockBegin(3, "tool_call", id="c1", name="f"),
        BlockEnd(3),
        *text_block(4, "c"),
        Ended(Ending("tools")),
    )
    output = frames[-1]["response"]["output"]
    assert [(item["type"], len(item.get("content", []))) for item in output] == [
        ("message", 3),
        ("function_call", 0),
        ("message", 1),
    ]
    assert [part["type"] for part in output[0]["content"]] == ["output_text", "output_text", "refusal"]


def test_blocks_may_interleave() -> None:
    frames = written(
        BlockBegin(0, "text"),
        Delta(0, "Let me "),
        BlockBegin(1, "tool_call", id="c1", name="f"),
        BlockBegin(2, "tool_call", id="c2", name="g"),
        Delta(2, '{"b":'),
        Delta(1, '{"a":1}'),
        Delta(0, "see."),
        BlockEnd(1),
        Delta(2, "2}"),
        BlockEnd(0),
        BlockEnd(2),
        Ended(Ending("tools")),
    )
    output = frames[-1]["response"]["output"]
    assert output[0]["content"][0]["text"] == "Let me see."
    assert [(call["call_id"], call["arguments"]) for call in output[1:]] == [("c1", '{"a":1}'), ("c2", '{"b":2}')]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    frames = written(BlockBegin(0, "tool_call", id="c1", name="f"), BlockEnd(0), Ended(Ending("tools")))
    assert kinds(frames)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert frames[-1]["response"]["output"][0]["arguments"] == "{}"


def test_free_text_calls() -> None:
    frames = written(
        BlockBegin(0, "tool_call", id="c1", name="patch", is_custom=True),
        Delta(0, "*** Begin"),
        BlockEnd(0),
        Ended(Ending("tools")),
    )
    assert kinds(frames)[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    assert frames[-1]["response"]["output"][0]["input"] == "*** Begin"


def test_tools_that_the_protocol_defines_are_called_whole() -> None:
    asked = CALLER.read_conversation(parse("responses", tools=[{"type": "local_shell"}]))
    frames = written(
        BlockBegin(0, "tool_call", id="c1", name="local_shell"),
        Delta(0, '{"type":"exec",'),
        Delta(0, '"command":["ls"],"env":{}}'),
        BlockEnd(0),
        Ended(Ending("tools")),
        asked=asked,
    )
    assert kinds(frames)[2:-1] == ["output_item.added", "output_item.done"]
    (call,) = frames[-1]["response"]["output"]
    assert (call["type"], call["call_id"], call["action"]["command"]) == ("local_shell_call", "c1", ["ls"])


def test_arguments_that_fit_no_such_tool_are_shown_as_they_are() -> None:
    asked = CALLER.read_conversation(parse("responses", tools=[{"type": "local_shell"}]))
    frames = written(
        BlockBegin(0, "tool_call", id="c1", name="local_shell"),
        Delta(0, "ls"),
        BlockEnd(0),
        Ended(Ending("tools")),
        asked=asked,
    )
    (call,) = frames[-1]["response"]["output"]
    assert (call["type"], call["arguments"]) == ("function_call", "ls")


def thought(*, asked: Conversation | None = None, is_summary: bool = False, seal: Seal | None = None) -> Frames:
    sealed: list[HubEvent] = [Sealed(0, seal)] if seal is not None else []
    return written(
        BlockBegin(0, "thinking", id="rs_1" if is_summary else "", is_summary=is_summary),
        Delta(0, "H"),
        Delta(0, "m."),
        *sealed,
        BlockEnd(0),
        *text_block(1, "Yes."),
        END,
        asked=asked,
    )


def test_reasoning_in_the_open() -> None:
    frames = thought(seal=Seal(ANTHROPIC, SIGNATURE, "EqQB"))
    assert kinds(frames)[2:9] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    item = frames[-1]["response"]["output"][0]
    assert item["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert item["encrypted_content"] == "hypereal.anthropic.signature.EqQB"


def test_reasoning_as_a_summary() -> None:
    frames = thought(is_summary=True, seal=Seal(OPENAI, ENCRYPTED, "gAAA", "rs_1"))
    assert kinds(frames)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    item = frames[-1]["response"]["output"][0]
    assert (item["id"], item["encrypted_content"]) == ("rs_1", "gAAA")
    assert item["summary"] == [{"type": "summary_text", "text": "Hm."}]
    wanted = Conversation([], reasoning=Reasoning(summary="auto"))
    assert thought(asked=wanted)[-1]["response"]["output"][0]["summary"][0]["text"] == "Hm."


def test_reasoning_that_is_only_sealed() -> None:
    seal = Seal(ANTHROPIC, ENCRYPTED, "EmwK")
    frames = written(BlockBegin(0, "thinking"), Sealed(0, seal), BlockEnd(0), END)
    assert kinds(frames)[2:-1] == ["output_item.added", "output_item.done"]
    assert frames[-1]["response"]["output"][0]["encrypted_content"] == "hypereal.anthropic.encrypted.EmwK"


def test_a_drawn_image_is_an_item() -> None:
    frames = written(*text_block(0, "Here:"), Drawn(Image("image/png", "iVBO")), END)
    assert kinds(frames)[-5:-1] == [
        "output_item.added",
        "image_generation_call.in_progress",
        "image_generation_call.completed",
        "output_item.done",
    ]
    assert frames[-1]["response"]["output"][1]["result"] == "iVBO"


def test_citations_of_this_protocol_are_told_and_others_are_not() -> None:
    own = {"type": "url_citation", "url": "https://a.b", "title": "A", "start_index": 0, "end_index": 2}
    frames = written(
        BlockBegin(0, "text"),
        Delta(0, "Hi", logprobs=[{"token": "Hi", "logprob": -0.5, "bytes": [72], "top_logprobs": []}]),
        Cited(0, own),
        Cited(0, {"type": "char_location"}),
        BlockEnd(0),
        END,
    )
    assert kinds(frames).count("output_text.annotation.added") == 1
    part = frames[-1]["response"]["output"][0]["content"][0]
    assert (part["annotations"], part["logprobs"][0]["token"]) == ([own], "Hi")


def test_a_refusal_without_words_is_given_some() -> None:
    frames = written(*text_block(0, "I"), Ended(Ending("refusal", details={"explanation": "Not that."})))
    assert frames[-1]["response"]["output"][-1]["content"][-1] == {"type": "refusal", "refusal": "Not that."}
    frames = written(BlockBegin(0, "refusal"), Delta(0, "No."), BlockEnd(0), Ended(Ending("refusal")))
    assert len(frames[-1]["response"]["output"]) == 1


def test_a_stream_that_we_cut_reads_like_one_at_its_maximum() -> None:
    frames = written(BlockBegin(0, "text"), Delta(0, "Hel"))
    final = frames[-1]["response"]
    assert (frames[-1]["type"], final["status"]) == ("response.incomplete", "incomplete")
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (final["output"][0]["status"], final["output"][0]["content"][0]["text"]) == ("incomplete", "Hel")


def test_a_stream_of_nothing_is_still_a_response() -> None:
    machine = writer()
    frames = frames_of(machine.finish(usage=None, hypereal=BILLING))
    assert kinds(frames) == ["created", "in_progress", "incomplete"]
    assert (frames[-1]["response"]["output"], frames[-1]["response"]["usage"]) == ([], None)


def test_blocks_of_other_choices_are_not_told() -> None:
    frames = written(*text_block(0, "a"), BlockBegin(0, "text", 1), Delta(0, "b", 1), BlockEnd(0, 1), END)
    assert len(frames[-1]["response"]["output"]) == 1
    assert frames[-1]["response"]["output"][0]["content"][0]["text"] == "a"


def test_a_failed_stream_ends_with_both_events_that_clients_wait_for() -> None:
    machine = writer()
    sent = b"".join(machine.write(event) for event in (BEGIN, BlockBegin(0, "text"), Delta(0, "Hi")))
    failed = machine.fail(GatewayError("upstream_error", "It broke."), request_id="req_1")
    frames = frames_of(sent + failed)
    assert kinds(frames)[-2:] == ["error", "failed"]
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert (frames[-1]["response"]["id"], frames[-1]["response"]["status"]) == ("resp_68a72e32db2c", "failed")
    assert frames[-1]["response"]["error"] == {"code": "upstream_error", "message": "It broke."}


def test_a_stream_that_failed_before_it_began_ends_alike() -> None:
    frames = frames_of(writer().fail(GatewayError("upstream_timeout", "Late."), request_id="req_1"))
    assert kinds(frames) == ["error", "failed"]


def test_a_ping_is_a_comment() -> None:
    assert writer().ping().startswith(b":")


@pytest.mark.parametrize("piece", [1, 3, 50])
def test_everything_at_once(piece: int) -> None:
    answer = Answer(
        "chatcmpl-68a72e32db2c",
        [
            Choice(
                [
                    Thinking("Let me think.", Seal(ANTHROPIC, SIGNATURE, "EqQB")),
                    Text("Hello, wörld \U0001f600\n"),
                    ToolCall("c1", "f", '{"city":"Zürich"}'),
                    ToolCall("c2", "patch", "*** Begin", is_custom=True),
                    Refusal("No."),
                    Image("image/png", "iVBO"),
                ],
                Ending("tools"),
            )
        ],
        USAGE,
        1_700_000_000,
    )
    response = check(written(*events_of(answer, piece=piece)[1:-2]))
    assert response.output_text == "Hello, wörld \U0001f600\n"
