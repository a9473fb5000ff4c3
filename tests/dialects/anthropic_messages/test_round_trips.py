"""Whatever the hub knows survives this protocol: requests through both sides, replies streamed or not, histories."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from apps.core.tokens import TokenUsage
from apps.dialects.anthropic_messages.answer import read_answer, write_answer
from apps.dialects.anthropic_messages.body import write_conversation
from apps.dialects.anthropic_messages.conversation import read_conversation
from apps.dialects.anthropic_messages.events import MessagesReader
from apps.dialects.anthropic_messages.request import parse
from apps.dialects.anthropic_messages.writer import MessagesWriter
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending, StopReason
from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Part,
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
from tests.dialects.anthropic_messages.test_writer import message_of
from tests.dialects.bodies import events_of as frames_of
from tests.dialects.bodies import relaxed
from tests.dialects.hub.streams import events_of, read_stream, written

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
words = text.filter(lambda value: bool(value.strip()))
base64 = st.text("ABCabc012+/", min_size=4, max_size=12)
names = st.text("abcXYZ019_-", min_size=1, max_size=20)
mark = st.none() | st.builds(CacheMark, st.sampled_from(["", "5m"]))
own_seals = st.builds(Seal, st.just("anthropic"), st.just("signature"), base64)
foreign_seals = st.builds(
    Seal,
    st.sampled_from(["openai", "gemini", "chat"]),
    st.sampled_from(["signature", "encrypted"]),
    base64,
    st.just("") | names,
)
own_thoughts = st.builds(Thinking, st.just("") | text, own_seals) | st.builds(
    Thinking, st.just(""), st.builds(Seal, st.just("anthropic"), st.just("encrypted"), base64)
)
any_thoughts = (
    own_thoughts
    | st.builds(Thinking, text, foreign_seals | st.none())
    | st.builds(Thinking, st.just(""), foreign_seals)
)
arguments = st.dictionaries(names, st.integers() | text | st.booleans(), max_size=3).map(json.dumps)
usages = st.builds(
    TokenUsage,
    input=st.integers(0, 99),
    cache_read=st.integers(0, 99),
    cache_write_5m=st.integers(0, 99),
    cache_write_1h=st.integers(0, 99),
    output=st.integers(9, 99),
    reasoning=st.integers(0, 9),
)


def calls(index: int) -> st.SearchStrategy[ToolCall]:
    return st.builds(ToolCall, st.just(f"toolu_{index}"), names, arguments)


def answers(thoughts: st.SearchStrategy[Thinking]) -> st.SearchStrategy[Answer]:
    part = st.one_of(thoughts, st.builds(Text, text), st.integers(0, 99).flatmap(calls))

    def made(parts: list[AnswerPart], reason: StopReason, usage: TokenUsage) -> Answer:
        natives = {"length": "max_tokens", "stop_sequence": "stop_sequence", "pause": "pause_turn"}
        ending = Ending(reason, "END" if reason == "stop_sequence" else "", natives.get(reason, ""))
        if any(isinstance(part, ToolCall) for part in parts) and reason == "end":
            ending = Ending("tools", native="tool_use")
        elif reason == "end":
            ending = Ending("end", native="end_turn")
        return Answer("msg_1", [Choice(parts, ending)], usage)

    reasons = st.sampled_from(["end", "length", "stop_sequence", "pause"])
    return st.builds(made, st.lists(part, min_size=1, max_size=6), reasons, usages)


def plain(answer: Answer) -> bytes:
    return write_answer(answer, model_id="m", hypereal=b"{}")


def streamed(answer: Answer, piece: int) -> bytes:
    return written(MessagesWriter(model_id="m"), events_of(answer, piece=piece))


@relaxed
@given(answers(own_thoughts))
def test_a_plain_reply_reads_as_the_answer_that_it_was_written_from(answer: Answer) -> None:
    read = read_answer(plain(answer))
    assert read == answer


@relaxed
@given(answers(own_thoughts), st.integers(1, 7))
def test_a_written_stream_reads_as_the_same_answer(answer: Answer, piece: int) -> None:
    collector = read_stream(MessagesReader(), streamed(answer, piece))
    assert collector.is_done
    assert collector.collected() == answer


@relaxed
@given(answers(any_thoughts), st.integers(1, 7))
def test_what_a_client_makes_of_a_stream_is_the_plain_reply(answer: Answer, piece: int) -> None:
    made = message_of(frames_of(streamed(answer, piece)))
    expected = json.loads(plain(answer))
    for block in made["content"]:
        block.pop("parsed_output", None)
    assert made["content"] == expected["content"]
    assert (made["stop_reason"], made["stop_sequence"]) == (expected["stop_reason"], expected["stop_sequence"])
    for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"):
        assert made["usage"][name] == expected["usage"][name]


@relaxed
@given(answers(any_thoughts))
def test_a_reply_that_the_client_sends_back_is_the_same_turn(answer: Answer) -> None:
    """Text, calls and every seal come back as they went out, verbatim."""
    message = {"role": "assistant", "content": json.loads(plain(answer))["content"]}
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [message]})
    [turn] = read_conversation(parse(body.encode())).turns
    assert turn.parts == answer.choices[0].parts


def results(call: ToolCall) -> st.SearchStrategy[ToolResult]:
    content = st.builds(Text, words) | st.builds(Image, st.just("image/png"), base64)
    return st.builds(ToolResult, st.just(call.id), st.lists(content, max_size=2), st.booleans())


said = st.one_of(
    st.builds(Text, words),
    st.builds(Image, st.just("image/png"), base64),
    st.builds(Image, url=st.just("https://example.com/a.png")),
    st.builds(Document, st.just("application/pdf"), base64, name=names),
    st.builds(Document, text=words, context=names, wants_citations=st.booleans()),
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns = [Turn("system", [draw(st.builds(Text, words, mark))])]
    pending: list[ToolCall] = []
    for _ in range(draw(st.integers(1, 3))):
        asked: list[Part] = [draw(results(call)) for call in pending]
        turns.append(Turn("user", [*asked, *draw(st.lists(said, min_size=1, max_size=3))]))
        pending = [draw(calls(index)) for index in range(draw(st.integers(0, 2)))]
        answered: list[Part] = [*draw(st.lists(own_thoughts, max_size=2)), Text(draw(words)), *pending]
        turns.append(Turn("assistant", answered))
    turns.append(Turn("user", [*(draw(results(call)) for call in pending), Text(draw(words), draw(mark))]))
    schema = st.just(Raw(b'{"type":"object"}'))
    tools = [
        draw(st.builds(Tool, st.just(name), st.none() | words, schema, st.none() | st.just(True)))
        for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
    ]
    choices = [ToolChoice("auto"), ToolChoice("required"), *(ToolChoice("tool", (tool.name,)) for tool in tools)]
    choice = draw(st.none() | st.sampled_from(choices))
    return Conversation(
        turns,
        tools,
        choice,
        parallel_tools=draw(st.none() | st.just(False)) if choice is not None else None,
        output_format=draw(st.none() | st.just(OutputFormat("schema", Raw(b'{"type":"object"}')))),
        max_tokens=draw(st.integers(1, 999)),
        stop=tuple(draw(st.lists(words, max_size=2))),
        tuning=Tuning(
            temperature=draw(st.none() | st.floats(0, 1)),
            top_k=draw(st.none() | st.integers(0, 9)),
            user=draw(st.just("") | names),
        ),
        is_stream=draw(st.booleans()),
    )


@relaxed
@given(conversations())
def test_a_request_survives_both_sides(asked: Conversation) -> None:
    body = write_conversation(asked, upstream_model="claude-opus-4-6", max_tokens=None)
    again = read_conversation(parse(body))
    for turn in again.turns:
        turn.field = ""
    compared = ("turns", "tools", "tool_choice", "parallel_tools", "output_format", "max_tokens", "stop", "tuning",
                "is_stream")  # fmt: skip
    for name in compared:
        assert getattr(again, name) == getattr(asked, name), name
    assert asked.adapted == []


@relaxed
@given(conversations())
def test_a_request_read_and_written_again_is_the_same_bytes(asked: Conversation) -> None:
    body = write_conversation(asked, upstream_model="claude-opus-4-6", max_tokens=None)
    again = read_conversation(parse(body))
    assert write_conversation(again, upstream_model="claude-opus-4-6", max_tokens=None) == body
