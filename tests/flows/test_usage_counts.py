"""Whatever an upstream counts, or does not: what the call costs then, to the microcredit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from apps.core import tokenizer
from tests.flows.bills import MODELS, bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, TEXT, Endpoint, Tokens, frame, typed
from tests.flows.rig import Person, Reply
from tests.flows.upstream import plain, streamed

BOTH = pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)

Change = Callable[[dict[str, Any]], object]


def change_usage(event: bytes, change: Change) -> bytes:
    """The event with every usage object in it changed; untouched where it has none."""
    head, found, data = event.partition(b"data: ")
    if not found or not data.startswith(b"{"):
        return event
    value = json.loads(data)
    holders = [value, value.get("response") or {}, value.get("message") or {}]
    if not any(isinstance(holder.get("usage"), dict) for holder in holders):
        return event
    for holder in holders:
        if isinstance(holder.get("usage"), dict):
            holder["usage"] = change(holder["usage"])
    return head + found + json.dumps(value).encode() + b"\n\n"


def call_with(
    person: Person, add_upstream: AddUpstream, endpoint: Endpoint, change: Change, *, is_stream: bool
) -> Reply:
    """One call, whose upstream says TEXT and counts as `change` makes of an honest count."""
    if is_stream:
        add_upstream(endpoint, streamed([change_usage(event, change) for event in endpoint.events()]))
    else:
        reply = json.loads(endpoint.reply())
        reply["usage"] = change(reply["usage"])
        add_upstream(endpoint, plain(json.dumps(reply).encode()))
    got = person.call(endpoint.path, endpoint.body(stream=is_stream))
    assert got.status == 200, got.body
    return got


def estimate_of(endpoint: Endpoint) -> tuple[int, int]:
    """Tokens of the prompt and of the answer where nobody counted: what its vocabulary says; an image at its most."""
    bounds = MODELS[endpoint.model]["bounds"]
    prompt = tokenizer.count(["user\nHi" if endpoint in (CHAT, MESSAGES) else "Hi"], bounds["tokenizer"])
    if endpoint is IMAGES:
        return prompt, bounds["image_output_tokens"]["low"]
    return prompt, tokenizer.count([TEXT], bounds["tokenizer"])


def assert_billed(
    person: Person, reply: Reply, endpoint: Endpoint, *, input: int, output: int, estimated: bool
) -> None:
    record = person.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["estimated"]) == ("succeeded", estimated)
    assert (record["usage"]["input"], record["usage"]["output"]) == (input, output)
    cost = bill(endpoint.model, input=input, output=output)
    assert (record["credits_charged"], record["absorbed"]) == (cost, 0)
    assert (person.balance, person.held) == (person.opening_balance - cost, 0)
    shown = [event for event in reply.events if "hypereal" in str(event)] if b"data: " in reply.body else [reply.json]
    assert ("'estimated': True" in str(shown)) is estimated


WORTHLESS: dict[str, Change] = {
    "none at all": lambda _: None,
    "no object": lambda _: [12, 5],
    "an empty object": lambda _: {},
    "words": lambda usage: dict.fromkeys(usage, "12"),
    "truths": lambda usage: dict.fromkeys(usage, True),
    "fractions": lambda usage: dict.fromkeys(usage, 12.5),
    "powers": lambda usage: dict.fromkeys(usage, 1e300),
    "less than nothing": lambda usage: {name: -value if type(value) is int else value for name, value in usage.items()},
    "less than nothing, a little": lambda usage: {**usage, "anything": -1},
}


@EACH
@BOTH
@pytest.mark.parametrize("what", list(WORTHLESS))
def test_a_worthless_count_is_estimated_and_says_so(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool, what: str
) -> None:
    reply = call_with(alice, add_upstream, endpoint, WORTHLESS[what], is_stream=is_stream)
    prompt, output = estimate_of(endpoint)
    assert_billed(alice, reply, endpoint, input=prompt, output=output, estimated=True)


@EACH
@BOTH
def test_zero_is_a_count(alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool) -> None:
    reply = call_with(
        alice,
        add_upstream,
        endpoint,
        lambda usage: json.loads(json.dumps(dict.fromkeys(usage, 0))),
        is_stream=is_stream,
    )
    assert_billed(alice, reply, endpoint, input=0, output=0, estimated=False)


@EACH
@BOTH
@pytest.mark.parametrize("huge", [2**31, 2**53, 2**63, 2**64 - 22_904_970, 10**30])
def test_more_than_can_be_is_cut_to_what_can(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool, huge: int
) -> None:
    def inflate(usage: dict[str, Any]) -> dict[str, Any]:
        return {name: huge for name, value in usage.items() if type(value) is int and "cache" not in name}

    reply = call_with(alice, add_upstream, endpoint, inflate, is_stream=is_stream)
    model = MODELS[endpoint.model]
    most = model["max_output_tokens"] or max(model["bounds"]["image_output_tokens"].values())
    assert_billed(alice, reply, endpoint, input=model["context_tokens"], output=most, estimated=True)
    story = alice.operator.run("explain", reply.headers["x-request-id"])
    assert story["error_detail"].startswith("The upstream counted more than this call can use")
    assert f"cannot use: TokenUsage(input={min(huge, 2**53 - 1)}" in alice.server.log


def test_a_model_may_read_a_little_more_than_its_round_figure(alice: Person, add_upstream: AddUpstream) -> None:
    """200k, 256k and 1M are what people say; the eighth beyond is billed as counted."""
    most = MODELS[MESSAGES.model]["context_tokens"] * 9 // 8
    for extra, estimated in ((0, False), (1, True)):
        add_upstream(MESSAGES, plain(MESSAGES.reply(Tokens(input=most + extra, output=10))), priority=1 - extra)
        reply = alice.call(MESSAGES.path, MESSAGES.body())
        billed = most if not estimated else MODELS[MESSAGES.model]["context_tokens"]
        assert reply.billing["credits_charged"] == bill(MESSAGES.model, input=billed, output=10)
        assert reply.billing.get("estimated", False) is estimated


def test_a_count_that_comes_twice_counts_once(alice: Person, add_upstream: AddUpstream) -> None:
    events = CHAT.events(Tokens(input=100, output=10))
    add_upstream(CHAT, streamed([*events[:-1], events[-2], events[-2], events[-1]]))
    reply = alice.call(CHAT.path, CHAT.body(stream=True))
    assert_billed(alice, reply, CHAT, input=100, output=10, estimated=False)


def test_running_totals_count_once(alice: Person, add_upstream: AddUpstream) -> None:
    """Some count with every chunk; some messages upstreams send several deltas."""
    events = MESSAGES.events(Tokens(input=100, output=10))
    deltas = [
        typed({"type": "message_delta", "delta": {}, "usage": {"input_tokens": 100 + extra, "output_tokens": extra}})
        for extra in (0, 5, 10)
    ]
    add_upstream(MESSAGES, streamed([*events[:-2], *deltas, events[-1]]))
    reply = alice.call(MESSAGES.path, MESSAGES.body(stream=True))
    assert_billed(alice, reply, MESSAGES, input=110, output=10, estimated=False)


@pytest.mark.parametrize("first", [(900, 90), (100, 90), (900, 10)])
def test_of_counts_that_shrink_the_last_one_counts(
    alice: Person, add_upstream: AddUpstream, first: tuple[int, int]
) -> None:
    """It is the upstream's last word, and what it will charge us."""
    events = CHAT.events(Tokens(input=100, output=10))
    early = json.loads(CHAT.events(Tokens(*first))[-2].removeprefix(b"data: "))
    add_upstream(CHAT, streamed([*events[:3], frame(early), *events[3:]]))
    reply = alice.call(CHAT.path, CHAT.body(stream=True))
    assert_billed(alice, reply, CHAT, input=100, output=10, estimated=False)


def test_a_null_takes_nothing_back(alice: Person, add_upstream: AddUpstream) -> None:
    events = CHAT.events(Tokens(input=100, output=10))
    nothing: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": None}
    add_upstream(CHAT, streamed([*events[:-1], frame(nothing), events[-1]]))
    reply = alice.call(CHAT.path, CHAT.body(stream=True))
    assert_billed(alice, reply, CHAT, input=100, output=10, estimated=False)


def test_a_stream_that_counts_its_prompt_only_has_its_answer_counted(alice: Person, add_upstream: AddUpstream) -> None:
    """The output that a messages stream's first event tells is provisional: the answer has not begun."""
    events = MESSAGES.events(Tokens(input=100, output=10))
    silent = typed({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}})
    add_upstream(MESSAGES, streamed([*events[:-2], silent, events[-1]]))
    reply = alice.call(MESSAGES.path, MESSAGES.body(stream=True))
    assert_billed(alice, reply, MESSAGES, input=100, output=estimate_of(MESSAGES)[1], estimated=True)


def test_hidden_reasoning_is_paid_for_where_the_total_shows_it(alice: Person, add_upstream: AddUpstream) -> None:
    reply = call_with(alice, add_upstream, CHAT, lambda usage: {**usage, "total_tokens": 2_000}, is_stream=False)
    assert_billed(alice, reply, CHAT, input=1_200, output=800, estimated=False)
