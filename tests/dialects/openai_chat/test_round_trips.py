"""Whatever the hub knows survives chat: requests through both sides, replies streamed or not, histories sent back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending, StopReason
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
    Tuning,
    Turn,
)
from apps.dialects.hub.reasoning import Seal
from apps.dialects.openai_chat.answer import read_answer, write_answer
from apps.dialects.openai_chat.body import write_conversation
from apps.dialects.openai_chat.conversation import read_conversation
from apps.dialects.openai_chat.events import ChatReader
from apps.dialects.openai_chat.request import parse
from apps.dialects.openai_chat.writer import ChatWriter
from tests.dialects.bodies import events_of as sse_events
from tests.dialects.bodies import relaxed
from tests.dialects.hub.streams import Collector, events_of, read_stream, written
from tests.dialects.openai_chat.test_writer import message

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
base64 = st.text("ABCabc012+/", min_size=4, max_size=12)
names = st.text("abcXYZ019_-", min_size=1, max_size=20)
marks = st.none() | st.builds(CacheMark, st.sampled_from(["", "5m", "1h"]))
seals = st.none() | st.one_of(
    st.builds(Seal, st.just("anthropic"), st.just("signature"), base64),
    st.builds(Seal, st.just("openai"), st.just("encrypted"), base64, st.just("rs_1")),
)
usages = st.builds(
    TokenUsage,
    input=st.integers(0, 99),
    cache_read=st.integers(0, 99),
    cache_write_5m=st.integers(0, 99),
    output=st.integers(1, 99),
)


def thoughts() -> st.SearchStrategy[Thinking]:
    def thought(text: str, seal: Seal | None) -> Thinking:
        return Thinking(text, seal, id=seal.item_id if seal is not None else "")

    return st.builds(thought, text, seals)


def calls(index: int) -> st.SearchStrategy[ToolCall]:
    return st.builds(ToolCall, st.just(f"call_{index}"), names, st.just('{"a": 1}') | st.just("{}"))


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Answers whose parts stand in the order that chat knows: reasoning, text, images, calls."""
    choices = []
    for _ in range(draw(st.integers(1, 2))):
        thought = draw(st.lists(thoughts(), max_size=2))
        if len(thought) > 1:
            # Text that nothing seals has no boundaries in chat.
            thought = [part for part in thought if part.seal is not None]
        parts: list[AnswerPart] = [*thought]
        parts += draw(st.lists(st.builds(Text, text), max_size=1))
        parts += draw(st.lists(st.builds(Image, st.just("image/png"), base64), max_size=2))
        reason: StopReason = draw(st.sampled_from(["end", "length", "filtered"]))
        made = [draw(calls(index)) for index in range(draw(st.integers(0, 3)))]
        parts += made
        choices.append(Choice(parts, Ending("tools" if made else reason)))
    return Answer("chatcmpl-1", choices, draw(usages), 1_700_000_000)


@relaxed
@given(answers(), st.integers(1, 7))
def test_an_answer_as_events_is_the_same_answer(answer: Answer, piece: int) -> None:
    assert Collector().take(events_of(answer, piece=piece)).collected() == answer


@relaxed
@given(answers(), st.integers(1, 7))
def test_what_a_client_makes_of_a_stream_is_the_plain_reply(answer: Answer, piece: int) -> None:
    writer = ChatWriter(model_id="m", wants_usage=True)
    stream = written(writer, events_of(answer, piece=piece))
    chunks = sse_events(stream)
    plain = json.loads(write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}"))
    for index, choice in enumerate(plain["choices"]):
        expected = {name: value for name, value in choice["message"].items() if value}
        made = message(chunks, index)
        for call in made.get("tool_calls", ()):
            del call["index"]
        assert {name: value for name, value in made.items() if value} == expected
    assert chunks[-2]["usage"] == plain["usage"]


@relaxed
@given(answers(), st.integers(1, 7))
def test_a_written_stream_reads_as_the_answer_that_the_plain_reply_reads_as(answer: Answer, piece: int) -> None:
    writer = ChatWriter(model_id="m", wants_usage=True)
    stream = written(writer, events_of(answer, piece=piece))
    collector = read_stream(ChatReader(n=len(answer.choices)), stream)
    assert collector.is_done
    plain = read_answer(write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}"))
    assert collector.collected() == plain


@relaxed
@given(answers())
def test_a_reply_that_the_client_sends_back_is_the_same_turn(answer: Answer) -> None:
    """Text, calls, images and every seal come back as they went out, verbatim."""
    plain = json.loads(write_answer(answer, Conversation([]), model_id="m", hypereal=b"{}"))
    for choice, shown in zip(answer.choices, plain["choices"], strict=True):
        body = json.dumps({"model": "m", "messages": [shown["message"]]}).encode()
        [turn] = read_conversation(parse(body)).turns
        assert turn.parts == choice.parts


def results(index: int) -> st.SearchStrategy[ToolResult]:
    return st.builds(
        ToolResult, st.just(f"call_{index}"), st.lists(st.builds(Text, text), min_size=1, max_size=2), cache=marks
    )


said = st.one_of(
    st.builds(Text, text, marks),
    st.builds(Image, st.just("image/png"), base64, detail=st.sampled_from(["", "low"]), cache=marks),
    st.builds(Image, url=st.just("https://example.com/a.png")),
    st.builds(Document, st.just("application/pdf"), base64, name=names, cache=marks),
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns = [Turn("system", [draw(st.builds(Text, text, marks))])]
    for _ in range(draw(st.integers(1, 3))):
        turns.append(Turn("user", draw(st.lists(said, min_size=1, max_size=3)), name=draw(st.just("") | names)))
        made = [draw(calls(index)) for index in range(draw(st.integers(0, 2)))]
        answer: list[Part] = [
            *draw(st.lists(st.builds(Thinking, text), max_size=1)),
            draw(st.builds(Text, text, marks)),
        ]
        turns.append(Turn("assistant", [*answer, *made]))
        turns += [Turn("user", [draw(results(index))]) for index in range(len(made))]
    tools = [Tool(name, cache=draw(marks)) for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))]
    choice = draw(
        st.none()
        | st.sampled_from([ToolChoice("auto"), ToolChoice("required"), ToolChoice("none")])
        | st.just(ToolChoice("tool", (tools[0].name,)))
        | st.builds(ToolChoice, st.just("allowed"), st.just((tools[0].name,)), must_call=st.booleans())
    )
    return Conversation(
        turns,
        tools=tools,
        tool_choice=choice,
        parallel_tools=draw(st.none() | st.booleans()),
        max_tokens=draw(st.none() | st.integers(1, 999)),
        stop=tuple(draw(st.lists(text, max_size=2))),
        n=draw(st.integers(1, 3)),
        logprobs=draw(st.none() | st.integers(0, 5)),
        is_stream=draw(st.booleans()),
        tuning=draw(
            st.builds(
                Tuning,
                temperature=st.none() | st.floats(0, 2),
                seed=st.none() | st.integers(0, 99),
                verbosity=st.sampled_from(["", "low"]),
                user=st.just("") | names,
            )
        ),
    )


def told(conversation: Conversation) -> dict[str, Any]:
    """Everything but where it stood in the body, and tools without a schema, which get an empty one."""
    turns = [(turn.role, turn.parts, turn.name) for turn in conversation.turns]
    tools = [(tool.name, tool.description, tool.cache) for tool in conversation.tools]
    kept = ("tool_choice", "parallel_tools", "max_tokens", "stop", "n", "logprobs", "is_stream", "tuning")
    return {"turns": turns, "tools": tools, **{name: getattr(conversation, name) for name in kept}}


@relaxed
@given(conversations())
def test_a_request_that_goes_through_the_hub_says_what_it_said(conversation: Conversation) -> None:
    body = write_conversation(conversation, upstream_model="m", max_tokens=None, account_tag="acc")
    assert told(read_conversation(parse(body))) == told(conversation)
    assert conversation.adapted == []


@relaxed
@given(conversations())
def test_a_request_read_and_written_again_is_the_same_bytes(conversation: Conversation) -> None:
    body = write_conversation(conversation, upstream_model="m", max_tokens=None, account_tag="acc")
    again = read_conversation(parse(body))
    assert write_conversation(again, upstream_model="m", max_tokens=None, account_tag="acc") == body


def test_a_refusal_in_a_history_keeps_its_words() -> None:
    conversation = Conversation([Turn("assistant", [Refusal("No.")])])
    body = write_conversation(conversation, upstream_model="m", max_tokens=None, account_tag="acc")
    assert read_conversation(parse(body)).turns[0].parts == [Text("No.")]
