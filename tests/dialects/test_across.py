"""Every pair of protocols: a request says the same on the other side, a stream what the plain reply says, and what a
provider sealed comes back to it as it was.

Shape:  caller's request -> Conversation -> upstream's request -> read again, as that protocol reads it
        upstream's reply or stream -> the caller's -> what the caller's next request brings back upstream
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending
from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    Part,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from apps.dialects.hub.exchange import TranslatingRelay
from apps.dialects.hub.reasoning import ANTHROPIC, CHAT, ENCRYPTED, OPENAI, SIGNATURE, Seal
from apps.dialects.protocol import Request
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.dialects.bodies import events_of as sse_events
from tests.dialects.bodies import frames, relaxed, run
from tests.dialects.hub.streams import events_of, read_stream, written

CHAT_, RESPONSES, MESSAGES, GEMINI_ = "openai-chat", "openai-responses", "anthropic-messages", "gemini"
each = settings(relaxed, max_examples=40)
"""There are many pairs."""

PAIRS = [(one, other) for one in CALLERS for other in CALLERS if one != other]
MODELS = {CHAT_: "gpt-5.6", RESPONSES: "gpt-5.6", MESSAGES: "claude-opus-4-8"}
"""Upstream models that know all that their protocol has a word for."""

pairs = pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda name: name.removeprefix("openai-"))

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda value: bool(value.strip())
)
base64 = st.text("ABCabc012+/", min_size=4, max_size=12)
names = st.text("abcXYZ019_-", min_size=1, max_size=20)
arguments = st.dictionaries(names, st.integers() | text | st.booleans() | st.none(), max_size=3).map(json.dumps)

DETAIL = '{"type":"reasoning.encrypted","data":"%s","format":"xai-responses-v1"}'


def own_seals(dialect: str) -> st.SearchStrategy[Seal | None]:
    """What a provider of this dialect seals."""
    if dialect == MESSAGES:
        return st.builds(Seal, st.just(ANTHROPIC), st.just(SIGNATURE), base64)
    if dialect == RESPONSES:
        return st.builds(Seal, st.just(OPENAI), st.just(ENCRYPTED), base64, st.just("rs_") | names.map("rs_{}".format))
    if dialect == GEMINI_:
        return st.none()
    return st.builds(Seal, st.just(CHAT), st.just(ENCRYPTED), base64.map(lambda payload: DETAIL % payload))


def call(index: int) -> st.SearchStrategy[ToolCall]:
    return st.builds(ToolCall, st.just(f"call_{index}"), names, arguments)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """What all three protocols have a word for: of cache marks, four of one lifetime."""
    said = st.one_of(
        st.builds(Text, text),
        st.builds(Image, st.just("image/png"), base64),
        st.builds(Image, url=st.just("https://example.com/a.png")),
        st.builds(Document, st.just("application/pdf"), base64, name=names),
    )
    turns = [Turn("system", [draw(st.builds(Text, text))])]
    for round_ in range(draw(st.integers(1, 3))):
        turns.append(Turn("user", draw(st.lists(said, min_size=1, max_size=3))))
        made = [draw(call(10 * round_ + index)) for index in range(draw(st.integers(0, 2)))]
        turns.append(Turn("assistant", [Text(draw(text)), *made]))
        turns += [Turn("user", [ToolResult(one.id, [Text(draw(text))])]) for one in made]
    turns.append(Turn("user", [Text(draw(text))]))
    mark = CacheMark(draw(st.sampled_from(["", "1h"])))
    texts = [part for turn in turns if turn.role == "user" for part in turn.parts if isinstance(part, Text)]
    for part in draw(st.lists(st.sampled_from(texts), max_size=4)):
        part.cache = mark
    schema = Raw(b'{"type":"object","properties":{"q":{"type":"string"}}}')
    tools = [
        Tool(name, draw(st.none() | text), schema, draw(st.none() | st.just(True)))
        for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
    ]
    choice = draw(
        st.sampled_from([None, ToolChoice("auto"), ToolChoice("required"), ToolChoice("tool", (tools[0].name,))])
    )
    return Conversation(
        turns, tools, choice, parallel_tools=draw(st.none() | st.just(False)), max_tokens=draw(st.integers(16, 999))
    )


def asked_in(dialect: str, conversation: Conversation, *, model: str = "") -> Conversation:
    """The conversation as a request of that dialect says it, read again."""
    body = UPSTREAMS[dialect].write_conversation(
        conversation, upstream_model=model or MODELS[dialect], max_tokens=None, account_tag="acc"
    )
    return CALLERS[dialect].read_conversation(DIALECTS[dialect].parse(body))


def told(conversation: Conversation) -> dict[str, Any]:
    """What it says, however its protocol cuts it into messages."""
    turns: list[tuple[str, list[Any]]] = []
    for turn in conversation.turns:
        role = "system" if turn.role == "developer" else turn.role
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].extend(_told(part) for part in turn.parts)
    return {
        "turns": turns,
        "tools": [
            (tool.name, tool.description, json.loads(bytes(tool.schema or b"{}"))) for tool in conversation.tools
        ],
        "choice": conversation.tool_choice,
        "parallel": conversation.parallel_tools,
        "max_tokens": conversation.max_tokens,
    }


def _told(part: Part) -> Any:
    match part:
        case Text():
            return part.text, part.cache
        case ToolCall():
            return part.id, part.name, json.loads(part.arguments or "{}")
        case ToolResult():
            return part.call_id, [_told(one) for one in part.parts], part.is_error
        case Image():
            return part.media_type, part.data, part.url
        case Document():
            return part.media_type, part.data, part.name
        case _:
            return part


def auto(conversation: Conversation) -> Conversation:
    """`auto` is what a choice is without being said, and must be said where calls may not be parallel."""
    if conversation.tool_choice == ToolChoice("auto"):
        conversation.tool_choice = None
    return conversation


@pairs
@each
@given(data=st.data())
def test_a_request_comes_back_from_the_other_protocol_saying_the_same(
    one: str, other: str, data: st.DataObject
) -> None:
    """Texts, files, tools, calls (name and JSON arguments), results and cache marks."""
    first = auto(asked_in(one, data.draw(conversations())))
    there = auto(asked_in(other, first))
    back = auto(asked_in(one, there))
    assert told(there) == told(first)
    assert told(back) == told(first)


@st.composite
def answers(draw: st.DrawFn, dialect: str) -> Answer:
    """An answer as a provider of this dialect gives it: its thoughts sealed its own way, something said behind."""
    thoughts: list[AnswerPart] = [
        Thinking(draw(st.just("") | text), draw(own_seals(dialect))) for _ in range(draw(st.integers(0, 1)))
    ]
    if dialect == RESPONSES:
        for thought in thoughts:
            assert isinstance(thought, Thinking)
            assert thought.seal is not None
            thought.id, thought.is_summary = thought.seal.item_id, bool(thought.text)
    texts: list[AnswerPart] = draw(st.lists(st.builds(Text, text), max_size=1))
    calls: list[AnswerPart] = [draw(call(index)) for index in range(draw(st.integers(0, 2)))]
    if not texts and not calls:
        texts = [Text("Hi")]
    ending = Ending("tools") if calls else Ending(draw(st.sampled_from(["end", "length"])))
    output = draw(st.integers(9, 99))
    usage = TokenUsage(
        input=draw(st.integers(0, 99)),
        cache_read=draw(st.integers(0, 99)),
        output=output,
        reasoning=draw(st.integers(0, 9)),
    )
    return Answer("id-1", [Choice([*thoughts, *texts, *calls], ending)], usage)


REQUESTS: dict[str, Request] = {
    dialect: DIALECTS[dialect].parse(
        json.dumps(
            {
                "model": "m",
                "stream": True,
                **({"input": "Hi"} if dialect == RESPONSES else {"messages": [{"role": "user", "content": "Hi"}]}),
                **({"max_tokens": 99} if dialect == MESSAGES else {}),
                **({"stream_options": {"include_usage": True}} if dialect == CHAT_ else {}),
            }
        ).encode()
    )
    for dialect in CALLERS
}


def replied(dialect: str, answer: Answer) -> bytes:
    """The plain reply of an upstream that speaks this dialect."""
    if dialect == GEMINI_:
        return json.dumps(
            gemini_chunk(answer, [gemini_part(part) for part in answer.choices[0].parts], is_last=True)
        ).encode()
    return CALLERS[dialect].write_answer(answer, Conversation([]), model_id="theirs", hypereal=b"{}")


def streamed(dialect: str, answer: Answer, piece: int) -> bytes:
    """The same as a stream."""
    if dialect != GEMINI_:
        writer = CALLERS[dialect].stream_writer(REQUESTS[dialect], Conversation([]), model_id="theirs")
        return written(writer, events_of(answer, piece=piece))
    chunks = []
    for part in answer.choices[0].parts:
        whole = gemini_part(part)
        said = whole.get("text", "")
        pieces = [said[start : start + piece] for start in range(0, len(said), piece)]
        chunks += [gemini_chunk(answer, [{**whole, "text": one}], is_last=False) for one in pieces]
        if "functionCall" in whole:
            chunks.append(gemini_chunk(answer, [whole], is_last=False))
    return frames(*chunks, gemini_chunk(answer, [], is_last=True))


def gemini_part(part: AnswerPart) -> dict[str, Any]:
    if isinstance(part, ToolCall):
        made = {"id": part.id, "name": part.name, "args": json.loads(part.arguments)}
        return {"functionCall": made, "thoughtSignature": f"sig-{part.id}"}
    assert isinstance(part, Text | Thinking)
    return {"text": part.text, **({"thought": True} if isinstance(part, Thinking) else {})}


def gemini_chunk(answer: Answer, parts: list[dict[str, Any]], *, is_last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
    if is_last:
        candidate["finishReason"] = "MAX_TOKENS" if answer.choices[0].ending.reason == "length" else "STOP"
    usage = answer.usage
    assert usage is not None
    counts = {
        "promptTokenCount": usage.prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
    }
    return {"responseId": answer.id, "candidates": [candidate], "usageMetadata": counts if is_last else None}


def relay(caller: str, upstream: str) -> TranslatingRelay:
    asked = Conversation([])
    writer = CALLERS[caller].stream_writer(REQUESTS[caller], asked, model_id="ours")
    return TranslatingRelay(UPSTREAMS[upstream].stream_reader(asked), writer, asked)


def shown(caller: str, upstream: str, reply: bytes) -> bytes:
    """The caller's plain reply of an upstream's."""
    answer = UPSTREAMS[upstream].read_answer(reply)
    return CALLERS[caller].write_answer(answer, Conversation([]), model_id="ours", hypereal=b"{}")


TRANSLATED = [(caller, upstream) for caller in CALLERS for upstream in UPSTREAMS if caller != upstream]
translated = pytest.mark.parametrize(("caller", "upstream"), TRANSLATED, ids=lambda name: name.removeprefix("openai-"))


@translated
@each
@given(data=st.data(), piece=st.integers(1, 7))
def test_a_stream_says_what_the_plain_reply_says(caller: str, upstream: str, data: st.DataObject, piece: int) -> None:
    answer = data.draw(answers(upstream))
    machine = relay(caller, upstream)
    stream = run(machine, [streamed(upstream, answer, piece)])
    assert machine.state.is_complete
    assert machine.state.usage == answer.usage
    reader = UPSTREAMS[caller].stream_reader(Conversation([]))
    stream += machine.finish(b"{}")
    collector = read_stream(reader, stream)
    assert collector.is_done
    reply = shown(caller, upstream, replied(upstream, answer))
    plain = UPSTREAMS[caller].read_answer(reply)
    collected = collector.collected()
    assert said(collected) == said(plain)
    assert thought(collected) == thought(plain)
    assert collected.usage == plain.usage == answer.usage
    for sealed in map(sealed_bytes, seals_of(answer.choices[0].parts)):
        assert sealed in stream
        assert sealed in reply


@translated
@each
@given(data=st.data())
def test_a_translated_reply_says_the_same(caller: str, upstream: str, data: st.DataObject) -> None:
    """Its text, its calls (name and JSON arguments), why it ended, and what it cost."""
    answer = data.draw(answers(upstream))
    read = UPSTREAMS[caller].read_answer(shown(caller, upstream, replied(upstream, answer)))
    assert said(read) == said(answer)
    assert read.usage == answer.usage


def said(answer: Answer) -> Any:
    parts = answer.choices[0].parts
    calls = [(part.id, part.name, json.loads(part.arguments)) for part in parts if isinstance(part, ToolCall)]
    return "".join(part.text for part in parts if isinstance(part, Text)), calls, answer.choices[0].ending.reason


def thought(answer: Answer) -> str:
    return "".join(part.text for part in answer.choices[0].parts if isinstance(part, Thinking))


def sealed_bytes(payload: str) -> bytes:
    """What of a seal stands in any protocol's JSON: chat's payload is an object of its own."""
    return (json.loads(payload)["data"] if payload.startswith("{") else payload).encode()


def sent_back(caller: str, reply: bytes) -> Conversation:
    """The caller's next request: what it was answered, and what its tools found."""
    shown = json.loads(reply)
    history: list[dict[str, Any]]
    body: dict[str, Any]
    if caller == RESPONSES:
        calls = [item for item in shown["output"] if item["type"] == "function_call"]
        results = [{"type": "function_call_output", "call_id": one["call_id"], "output": "1"} for one in calls]
        body = {"model": "m", "input": [{"role": "user", "content": "Hi"}, *shown["output"], *results]}
    elif caller == CHAT_:
        message = shown["choices"][0]["message"]
        history = [
            {"role": "tool", "tool_call_id": one["id"], "content": "1"} for one in message.get("tool_calls") or ()
        ]
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}, message, *history]}
    else:
        uses = [block for block in shown["content"] if block["type"] == "tool_use"]
        found = [{"type": "tool_result", "tool_use_id": one["id"], "content": "1"} for one in uses]
        history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": shown["content"]}]
        body = {
            "model": "m",
            "max_tokens": 99,
            "messages": [*history, {"role": "user", "content": [*found, {"type": "text", "text": "Go on."}]}],
        }
    return CALLERS[caller].read_conversation(DIALECTS[caller].parse(json.dumps(body).encode()))


def seals_of(parts: list[Any]) -> list[str]:
    return [part.seal.payload for part in parts if isinstance(part, Thinking) and part.seal is not None]


@pairs
@each
@given(data=st.data())
def test_what_a_provider_sealed_comes_back_to_it_verbatim(one: str, other: str, data: st.DataObject) -> None:
    """Through the caller's protocol `one`, from and to an upstream that speaks `other`."""
    answer = data.draw(answers(other))
    reply = replied(other, answer)
    asked = sent_back(one, shown(one, other, reply))
    again = asked_in(other, asked)
    brought = [payload for turn in again.turns for payload in seals_of(turn.parts)]
    assert brought == seals_of(UPSTREAMS[other].read_answer(reply).choices[0].parts)


@translated
@each
@given(data=st.data(), piece=st.integers(1, 7), cuts=st.lists(st.integers(0), max_size=5))
def test_where_the_upstreams_bytes_were_cut_makes_no_difference(
    caller: str, upstream: str, data: st.DataObject, piece: int, cuts: list[int]
) -> None:
    stream = streamed(upstream, data.draw(answers(upstream)), piece)
    edges = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    whole, cut = relay(caller, upstream), relay(caller, upstream)
    told = run(whole, [stream]) + whole.finish(b"{}")
    told_in_pieces = run(cut, [stream[start:end] for start, end in itertools.pairwise(edges)]) + cut.finish(b"{}")
    assert (cut.state.usage, cut.state.is_complete) == (whole.state.usage, True)
    assert [timeless(one) for one in sse_events(told_in_pieces)] == [timeless(one) for one in sse_events(told)]


def timeless(event: Any) -> Any:
    """Without the ids and times that are made anew for each reply."""
    if isinstance(event, dict):
        return {
            name: timeless(value)
            for name, value in event.items()
            if name not in ("id", "item_id", "created", "created_at")
        }
    return [timeless(one) for one in event] if isinstance(event, list) else event
