"""A caller's Messages stream, whatever the upstream speaks; read by the official SDK's own accumulator."""

from __future__ import annotations

import json
from typing import Any, cast

from anthropic._models import construct_type_unchecked
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from apps.core.errors import GatewayError
from apps.core.tokens import TokenUsage
from apps.dialects.anthropic_messages.writer import MessagesWriter
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Image
from apps.dialects.hub.events import Begin, BlockBegin, BlockEnd, Delta, Drawn, Ended, HubEvent, Sealed
from apps.dialects.hub.reasoning import Seal
from tests.dialects.bodies import events_of as frames_of

BILLING = b'{"billing":{"credits_charged":12}}'
USAGE = TokenUsage(input=7, cache_read=3, output=5)
BEGIN = Begin("chatcmpl-1")
END = Ended(Ending("end"))
EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)

Frames = list[dict[str, Any]]


def written(*events: HubEvent, usage: TokenUsage | None = USAGE) -> Frames:
    """The whole stream, checked as `message_of` checks it."""
    machine = MessagesWriter(model_id="ours")
    sent = b"".join(machine.write(event) for event in (BEGIN, *events))
    frames = frames_of(sent + machine.finish(usage=usage, hypereal=BILLING))
    message_of(frames)
    return frames


def message_of(frames: Frames) -> dict[str, Any]:
    """What the official SDK makes of a stream; each block opens, goes on and closes before the next one opens."""
    kinds = [frame["type"] for frame in frames]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop") == 1
    open_block, opened = None, 0
    for frame in frames[1:-2]:
        if frame["type"] == "content_block_start":
            assert (open_block, frame["index"]) == (None, opened)
            open_block, opened = opened, opened + 1
        else:
            assert frame["index"] == open_block
            if frame["type"] == "content_block_stop":
                open_block = None
    assert open_block is None
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for frame in frames:
        # The SDK's own lenient way; a drawn image is the one block that its strict types do not know.
        event: Any = construct_type_unchecked(value=frame, type_=cast("Any", RawMessageStreamEvent))
        if frame.get("content_block", {}).get("type") != "image":
            EVENT.validate_python(frame)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    message: dict[str, Any] = json.loads(snapshot.model_dump_json(exclude_unset=True, warnings=False))
    return message


def blocks_of(*events: HubEvent) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = message_of(written(*events, END))["content"]
    for block in content:
        block.pop("parsed_output", None)
    return content


def test_a_stream_has_every_event_in_its_place() -> None:
    frames = written(BlockBegin(0, "text"), Delta(0, "He"), Delta(0, "llo"), BlockEnd(0), END)
    assert frames == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_chatcmpl-1",
                "type": "message",
                "role": "assistant",
                "model": "ours",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "He"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "llo"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "input_tokens": 7,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 3,
                "output_tokens": 5,
            },
            "hypereal": {"billing": {"credits_charged": 12}},
        },
        {"type": "message_stop"},
    ]


def test_the_end_is_withheld_until_the_call_is_settled() -> None:
    machine = MessagesWriter(model_id="ours")
    assert machine.write(BEGIN) != b""
    assert machine.write(END) == b""


def test_what_is_known_of_the_prompt_is_told_at_the_start() -> None:
    frames = frames_of(MessagesWriter(model_id="ours").write(Begin("msg_1", usage=USAGE)))
    assert frames[0]["message"]["id"] == "msg_1"
    assert frames[0]["message"]["usage"]["cache_read_input_tokens"] == 3


def test_blocks_that_interleave_come_one_after_another() -> None:
    frames = written(
        BlockBegin(0, "tool_call", id="a", name="grep"),
        BlockBegin(1, "tool_call", id="b", name="ls"),
        Delta(1, '{"d'),
        Delta(0, '{"q":'),
        BlockBegin(2, "text"),
        Delta(2, "Hi"),
        Delta(0, "1}"),
        Delta(1, '":2}'),
        BlockEnd(1),
        BlockEnd(0),
        Delta(2, "!"),
        BlockEnd(2),
        Ended(Ending("tools")),
    )
    message = message_of(frames)
    assert message["stop_reason"] == "tool_use"
    assert [(block.get("name"), block.get("input"), block.get("text")) for block in message["content"]] == [
        ("grep", {"q": 1}, None),
        ("ls", {"d": 2}, None),
        (None, None, "Hi!"),
    ]
    shown = [frame["delta"] for frame in frames if frame["type"] == "content_block_delta"]
    assert shown[0] == {"type": "input_json_delta", "partial_json": ""}


def test_a_block_whose_turn_it_is_is_not_held_back() -> None:
    machine = MessagesWriter(model_id="ours")
    for event in (BEGIN, BlockBegin(0, "text"), BlockBegin(1, "tool_call", id="a", name="grep"), Delta(1, "{")):
        machine.write(event)
    assert b'"text":"Hi"' in machine.write(Delta(0, "Hi"))
    assert machine.write(Delta(1, "}")) == b""
    caught_up = machine.write(BlockEnd(0))
    assert caught_up.count(b"input_json_delta") == 3
    assert b'"partial_json":"x"' in machine.write(Delta(1, "x"))


def test_thoughts_are_signed_or_redacted() -> None:
    assert blocks_of(
        BlockBegin(0, "thinking"),
        Delta(0, "hm"),
        Sealed(0, Seal("anthropic", "signature", "EqQB")),
        BlockEnd(0),
        BlockBegin(1, "thinking"),
        Sealed(1, Seal("anthropic", "signature", "EqQC")),
        BlockEnd(1),
        BlockBegin(2, "thinking"),
        Delta(2, "so"),
        Sealed(2, Seal("openai", "encrypted", "gAAA", "rs_1")),
        BlockEnd(2),
        BlockBegin(3, "thinking"),
        Sealed(3, Seal("openai", "encrypted", "gAAA")),
        BlockEnd(3),
        BlockBegin(4, "thinking"),
        Delta(4, "ah"),
        BlockEnd(4),
        BlockBegin(5, "thinking"),
        BlockEnd(5),
    ) == [
        {"type": "thinking", "thinking": "hm", "signature": "EqQB"},
        {"type": "thinking", "thinking": "", "signature": "EqQC"},
        {"type": "thinking", "thinking": "so", "signature": "hypereal.openai.encrypted~rs_1.gAAA"},
        {"type": "redacted_thinking", "data": "hypereal.openai.encrypted.gAAA"},
        {"type": "thinking", "thinking": "ah", "signature": "hypereal.chat.signature."},
    ]


def test_empty_texts_leave_no_block_behind_but_an_answer_has_one() -> None:
    assert blocks_of(BlockBegin(0, "text"), Delta(0, ""), BlockEnd(0)) == [{"type": "text", "text": ""}]
    after_nothing = blocks_of(BlockBegin(0, "text"), BlockEnd(0), BlockBegin(1, "text"), Delta(1, "x"))
    assert after_nothing == [{"type": "text", "text": "x"}]


def test_a_refusal_is_text_and_told_of_at_the_end() -> None:
    message = message_of(
        written(BlockBegin(0, "refusal"), Delta(0, "I "), Delta(0, "can't."), Delta(0, " No."), BlockEnd(0), END)
    )
    assert message["content"][0]["text"] == "I can't. No."
    assert message["stop_reason"] == "refusal"
    assert message["stop_details"]["explanation"] == "I can't. No."


def test_a_drawn_image_waits_for_its_turn() -> None:
    drawn = Drawn(Image("image/png", "iVBO"))
    assert [block["type"] for block in blocks_of(BlockBegin(0, "text"), Delta(0, "a"), drawn, drawn, BlockEnd(0))] == [
        "text",
        "image",
        "image",
    ]


def test_a_stream_that_we_stop_ends_as_one_of_maximum_length() -> None:
    frames = written(BlockBegin(0, "text"), Delta(0, "Hel"), BlockBegin(1, "tool_call", id="a", name="f"))
    assert frames[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    bare = frames_of(MessagesWriter(model_id="ours").finish(usage=None, hypereal=b"{}"))
    assert [frame["type"] for frame in bare] == ["message_start", "message_delta", "message_stop"]
    assert bare[1]["usage"] == {"output_tokens": 0}


def test_other_choices_and_citations_are_not_shown() -> None:
    assert blocks_of(BlockBegin(0, "text", 1), Delta(0, "x", 1), BlockBegin(0, "text"), Delta(0, "y")) == [
        {"type": "text", "text": "y"}
    ]


def test_a_failure_is_this_protocols_error_event() -> None:
    error = GatewayError("upstream_error", "The upstream broke off.")
    [event] = frames_of(MessagesWriter(model_id="ours").fail(error, request_id="req_1"))
    assert (event["type"], event["error"]["type"], event["request_id"]) == ("error", "api_error", "req_1")
    assert frames_of(MessagesWriter(model_id="ours").ping()) == [{"type": "ping"}]
