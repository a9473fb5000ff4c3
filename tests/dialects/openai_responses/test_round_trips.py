"""Whatever the hub knows survives this protocol: requests through both sides, replies streamed or not, histories."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending, StopReason
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
from apps.dialects.openai_responses.request import parse
from apps.dialects.registry import CALLERS, UPSTREAMS
from tests.dialects.bodies import events_of as frames_of
from tests.dialects.bodies import parse as parse_fields
from tests.dialects.bodies import relaxed
from tests.dialects.hub.streams import Collector, events_of, read_stream, written
from tests.dialects.openai_responses.test_writer import check

CALLER = CALLERS["openai-responses"]
UPSTREAM = UPSTREAMS["openai-responses"]
REQUEST = parse_fields("responses", stream=True)

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
base64 = st.text("ABCabc012+/", min_size=4, max_size=12)
names = st.text("abcXYZ019_-", min_size=1, max_size=20)
marks = st.none() | st.builds(CacheMark, st.sampled_from(["", "1h"]))
foreign_seals = st.builds(
    Seal, st.sampled_from(["anthropic", "gemini", "chat"]), st.sampled_from(["signature", "encrypted"]), base64
)
usages = st.builds(
    TokenUsage,
    input=st.integers(0, 99),
    cache_read=st.integers(0, 99),
    cache_write_5m=st.integers(0, 99),
    cache_write_1h=st.integers(0, 99),
    output=st.integers(9, 99),
    reasoning=st.integers(0, 9),
    image_output=st.integers(0, 9),
)


@st.composite
def thoughts(draw: st.DrawFn, *, own_only: bool = False) -> Thinking:
    """Reasoning that this protocol's providers made (with an id), or that others sealed."""
    if own_only or draw(st.booleans()):
        item_id = "rs_" + draw(names)
        seal = Seal("openai", "encrypted", draw(base64), item_id)
        said = draw(st.just("") | text)
        return Thinking(said, seal, is_summary=bool(said), id=item_id)
    return Thinking(draw(text), draw(foreign_seals))


def calls(index: int) -> st.SearchStrategy[ToolCall]:
    return st.builds(ToolCall, st.just(f"call_{index}"), names, st.just('{"a": 1}') | st.just("{}")) | st.builds(
        ToolCall, st.just(f"call_{index}"), names, text, st.just(True)
    )


def ids_of(parts: list[AnswerPart]) -> list[str]:
    return [getattr(part, "id", "") for part in parts]


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    parts: list[AnswerPart] = draw(
        st.lists(
            st.one_of(
                thoughts(),
                st.builds(Text, text),
                st.builds(Refusal, text),
                st.builds(Image, st.sampled_from(["image/png", "image/webp"]), base64),
                st.integers(0, 99).flatmap(calls),
            ),
            max_size=6,
        )
    )
    # Ids are unique within a reply; a writer sees to it where an upstream's are not.
    parts = [
        part for at, part in enumerate(parts) if not (own := getattr(part, "id", "")) or own not in ids_of(parts[:at])
    ]
    reason: StopReason = draw(st.sampled_from(["end", "length", "filtered", "pause"]))
    natives = {"length": "max_output_tokens", "filtered": "content_filter", "pause": "pause_turn"}
    native = natives.get(reason, "completed")
    if reason == "end" and any(isinstance(part, ToolCall) for part in parts):
        reason = "tools"
    elif reason == "end" and any(isinstance(part, Refusal) for part in parts):
        reason = "refusal"
    return Answer("resp_68a72e32db2c", [Choice(parts, Ending(reason, native=native))], draw(usages), 1_700_000_000)


def plain(answer: Answer) -> bytes:
    return CALLER.write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}")


@relaxed
@given(answers())
def test_a_plain_reply_reads_as_the_answer_that_it_was_written_from(answer: Answer) -> None:
    assert UPSTREAM.read_answer(plain(answer)) == answer


@relaxed
@given(answers(), st.integers(1, 7))
def test_a_written_stream_reads_as_the_same_answer(answer: Answer, piece: int) -> None:
    writer = CALLER.stream_writer(REQUEST, Conversation([]), model_id="m")
    stream = written(writer, events_of(answer, piece=piece))
    collector = read_stream(UPSTREAM.stream_reader(Conversation([])), stream)
    assert collector.is_done
    assert collector.collected() == answer


@relaxed
@given(answers(), st.integers(1, 7))
def test_what_a_client_makes_of_a_stream_is_the_plain_reply(answer: Answer, piece: int) -> None:
    writer = CALLER.stream_writer(REQUEST, Conversation([]), model_id="m")
    frames = frames_of(written(writer, events_of(answer, piece=piece)))
    if answer.choices[0].ending.reason != "pause":
        # The SDK knows no such reason, and does not mind when it reads a stream.
        check(frames)
    assert frames[-1]["response"] == json.loads(plain(answer))


@relaxed
@given(answers())
def test_a_reply_that_the_client_sends_back_is_the_same_turn(answer: Answer) -> None:
    """Text, calls, images and every seal come back as they went out, verbatim."""
    body = json.dumps({"model": "m", "input": [*json.loads(plain(answer))["output"], {"role": "user", "content": "?"}]})
    parts = answer.choices[0].parts
    turns = CALLER.read_conversation(parse(body.encode())).turns
    assert [turn.parts for turn in turns[:-1]] == ([parts] if parts else [])


def results(call: ToolCall) -> st.SearchStrategy[ToolResult]:
    content = st.one_of(st.builds(Text, text), st.builds(Image, st.just("image/png"), base64, detail=st.just("auto")))
    return st.builds(
        ToolResult,
        st.just(call.id),
        st.lists(content, min_size=1, max_size=2),
        st.booleans(),
        st.just(call.is_custom),
        marks,
        st.just(call.name),
    )


said = st.one_of(
    st.builds(Text, text, marks),
    st.builds(Image, st.just("image/png"), base64, detail=st.sampled_from(["low", "auto"]), cache=marks),
    st.builds(Image, url=st.just("https://example.com/a.png"), detail=st.just("high")),
    st.builds(Document, st.just("application/pdf"), base64, name=names, cache=marks),
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns: list[Turn] = []
    if draw(st.booleans()):
        turns.append(Turn("system", [Text(draw(text))]))
    for _ in range(draw(st.integers(1, 3))):
        turns.append(Turn(draw(st.sampled_from(["user", "developer"])), draw(st.lists(said, min_size=1, max_size=3))))
        made = [draw(calls(len(turns) * 10 + index)) for index in range(draw(st.integers(0, 2)))]
        answer: list[Part] = [
            *draw(st.lists(thoughts(own_only=True), max_size=1)),
            *draw(st.lists(st.builds(Text, text) | st.builds(Refusal, text), min_size=1, max_size=2)),
            *made,
        ]
        turns.append(Turn("assistant", answer))
        if made:
            turns.append(Turn("user", [draw(results(call)) for call in made]))
    schemas = st.just(Raw(b'{"type":"object"}'))
    tools = [
        draw(
            st.builds(Tool, st.just(name), st.none() | text, schemas, st.booleans())
            | st.builds(Tool, st.just(name), st.none() | text, is_custom=st.just(True))
        )
        for name in draw(st.lists(names, max_size=3, unique=True))
    ]
    names_of = tuple(tool.name for tool in tools)
    choices = st.sampled_from([ToolChoice("auto"), ToolChoice("required"), ToolChoice("none")])
    choice = (
        draw(
            st.none()
            | choices
            | st.just(ToolChoice("tool", names_of[:1]))
            | st.builds(ToolChoice, st.just("allowed"), st.just(names_of), must_call=st.booleans())
        )
        if tools
        else None
    )
    return Conversation(
        turns,
        tools,
        choice,
        parallel_tools=draw(st.none() | st.booleans()) if tools else None,
        output_format=draw(
            st.none()
            | st.just(OutputFormat("json"))
            | st.builds(OutputFormat, st.just("schema"), schemas, names, text, st.none() | st.booleans())
        ),
        max_tokens=draw(st.none() | st.integers(16, 999)),
        reasoning=draw(
            st.builds(Reasoning, effort=st.sampled_from(["", "low", "max"]), summary=st.sampled_from(["", "auto"]))
        ),
        tuning=draw(
            st.builds(Tuning, verbosity=st.sampled_from(["", "low"]), user=st.just("") | names, metadata=st.none())
        ),
        logprobs=draw(st.none() | st.integers(0, 20)),
        is_stream=draw(st.booleans()),
    )


@relaxed
@given(conversations())
def test_a_request_survives_both_sides(asked: Conversation) -> None:
    body = UPSTREAM.write_conversation(asked, upstream_model="gpt-5.6", max_tokens=None, account_tag="acc")
    again = CALLER.read_conversation(parse(body))
    for turn in again.turns:
        turn.field = ""
    compared = ("turns", "tools", "tool_choice", "parallel_tools", "output_format", "max_tokens", "reasoning", "tuning",
                "logprobs", "is_stream")  # fmt: skip
    for name in compared:
        assert getattr(again, name) == getattr(asked, name), name


def test_an_answer_as_events_is_the_same_answer() -> None:
    answer = Answer("resp_1", [Choice([Text("Hi")], Ending("end"))], TokenUsage(input=1, output=1))
    assert Collector().take(events_of(answer)).collected() == answer
