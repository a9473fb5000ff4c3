"""Callers that leave: what the upstream did is billed, nothing stays held, no slot is lost."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from apps.core import tokenizer
from tests.flows.bills import MODELS, bill
from tests.flows.conftest import AddUpstream, SetPolicy
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, TEXT_ENDPOINTS, Endpoint, Tokens, typed
from tests.flows.raw_socket import Connection
from tests.flows.rig import Person, eventually
from tests.flows.upstream import Step, plain, served, streamed

TOKENS = Tokens(input=1_000, output=400)
SPEECH = "Twelve dogs ran; seven cats, 3 of them grey, looked on: nobody minded.\n\n" * 9 + "Not even the mice."
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def vocabulary(endpoint: Endpoint) -> str:
    return str(MODELS[endpoint.model]["bounds"]["tokenizer"])


def index_of(events: list[bytes], text: bytes) -> int:
    return next(index for index, event in enumerate(events) if text in event)


def hang_up_after(person: Person, endpoint: Endpoint, text: bytes) -> None:
    """Start a stream and leave as soon as `text` came."""
    with Connection(person.server.port) as connection:
        connection.post(endpoint.path, endpoint.body(stream=True), key=person.key)
        connection.receive_until(text)


@EACH
def test_a_stream_that_ends_soon_after_is_billed_by_its_usage(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint, TOKENS, gap_s=0.1))
    hang_up_after(alice, endpoint, b"data: ")
    record = alice.newest_record()
    assert (record["status"], record["estimated"], record["usage"]["output"]) == ("abandoned", False, 400)
    assert record["credits_charged"] == bill(endpoint.model, input=1_000, output=400)
    assert (alice.balance, alice.held) == (1_000 - record["credits_charged"], 0)
    assert eventually(lambda: script.completed == 1)


@pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_stream_that_goes_on_is_cut_and_estimated(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    # An upstream that counts what it says and what it reads with the vocabulary that the catalog names.
    said = tokenizer.count([SPEECH], vocabulary(endpoint))
    read = tokenizer.count(["user\nHi" if endpoint is CHAT else "Hi"], vocabulary(endpoint))
    events = endpoint.events(TOKENS, SPEECH, parts=40)
    script = add_upstream(endpoint, streamed([*events[: index_of(events, b"mice.") + 1], 60.0]))
    began = time.monotonic()
    hang_up_after(alice, endpoint, b"mice.")
    record = alice.newest_record()
    assert 5 <= time.monotonic() - began < 8
    assert (record["status"], record["estimated"], record["usage"]["output"]) == ("abandoned", True, said)
    # Messages report the prompt at the start.
    prompt = TOKENS.input if endpoint is MESSAGES else read
    assert record["usage"]["input"] == prompt
    assert record["credits_charged"] == bill(endpoint.model, input=prompt, output=said) == 1_000 - alice.balance
    assert alice.held == 0
    assert eventually(lambda: script.hung_up == 1)


def test_no_more_than_256_kb_are_read_on(alice: Person, add_upstream: AddUpstream) -> None:
    speech = SPEECH * 10
    first, delta = CHAT.events(TOKENS, speech, parts=1)[:2]
    steps: list[Step] = [first]
    for _ in range(2_000):
        steps += [delta, 0.01]
    script = add_upstream(CHAT, streamed(steps))
    began = time.monotonic()
    hang_up_after(alice, CHAT, b"mice.")
    record = alice.newest_record()
    assert time.monotonic() - began < 4
    assert (record["status"], record["estimated"]) == ("abandoned", True)
    heard = record["usage"]["output"] // tokenizer.count([speech], vocabulary(CHAT))
    assert 262_144 <= heard * len(delta) < 600_000
    assert eventually(lambda: script.hung_up == 1)


def test_a_break_after_the_caller_left_is_free(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, streamed([*MESSAGES.events()[:4], 0.5]))
    hang_up_after(alice, MESSAGES, b"content_block_delta")
    record = alice.newest_record()
    assert (record["status"], record["error_code"]) == ("failed", "upstream_error")
    alice.assert_paid_nothing()


@EACH
def test_a_plain_call_runs_on_and_is_billed(alice: Person, add_upstream: AddUpstream, endpoint: Endpoint) -> None:
    answer = plain(endpoint.reply(TOKENS))
    script = add_upstream(endpoint, replace(answer, steps=[0.5, *answer.steps]))
    with Connection(alice.server.port) as connection:
        connection.post(endpoint.path, endpoint.body(), key=alice.key)
        eventually(lambda: len(script.calls) == 1)
    record = alice.newest_record()
    assert record["credits_charged"] == bill(endpoint.model, input=1_000, output=400)
    assert (alice.balance, alice.held, script.completed) == (1_000 - record["credits_charged"], 0, 1)


@EACH
def test_many_hang_ups_leak_no_slot(
    alice: Person, add_upstream: AddUpstream, set_policy: SetPolicy, endpoint: Endpoint
) -> None:
    set_policy(endpoint.model, concurrency=25)
    add_upstream(endpoint, served(endpoint, TOKENS, gap_s=0.01))
    for _ in range(25):
        hang_up_after(alice, endpoint, b"data: ")
    eventually(lambda: len(alice.records()) == 25)
    eventually(lambda: alice.held == 0)
    reply = alice.call(endpoint.path, endpoint.body())
    assert reply.headers["x-hypereal-managed-model-concurrency-remaining"] == "24"
    charged = sum(record["credits_charged"] for record in alice.records())
    assert alice.balance == 1_000 - charged == 1_000 - 26 * bill(endpoint.model, input=1_000, output=400)


def test_a_reader_that_leaves_before_the_answer_is_billed_for_it(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(IMAGES, streamed([0.5, *IMAGES.events(TOKENS)]))
    with Connection(alice.server.port) as connection:
        connection.post(IMAGES.path, IMAGES.body(stream=True), key=alice.key)
        time.sleep(0.2)
    record = alice.newest_record()
    assert (record["status"], record["credits_charged"]) == (
        "abandoned",
        bill(IMAGES.model, input=1_000, output=400),
    )


def test_reasoning_that_nobody_can_read_is_measured_by_its_encrypted_form(
    alice: Person, add_upstream: AddUpstream
) -> None:
    first = MESSAGES.events(TOKENS)[0]
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    sealed = [
        typed({"type": "content_block_start", "index": 0, "content_block": thinking}),
        typed(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "Eq" * 999}}
        ),
    ]
    add_upstream(MESSAGES, streamed([first, *sealed, 60.0]))
    hang_up_after(alice, MESSAGES, b"EqEq")
    record = alice.newest_record()
    assert (record["status"], record["estimated"], record["usage"]["output"]) == ("abandoned", True, 500)


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES], ids=lambda endpoint: endpoint.name)
def test_a_count_that_came_before_the_cut_is_no_estimate(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    """The upstream told its final count, and then never ended."""
    add_upstream(endpoint, streamed([*endpoint.events(TOKENS)[:-1], 60.0]))
    hang_up_after(alice, endpoint, b"ran.")
    record = alice.newest_record()
    assert (record["status"], record["estimated"], record["usage"]["output"]) == ("abandoned", False, 400)
    assert record["credits_charged"] == bill(endpoint.model, input=1_000, output=400)
