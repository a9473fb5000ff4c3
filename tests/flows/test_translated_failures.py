"""What goes wrong between a caller of one dialect and an upstream of another: told in the caller's own words, never
billed. The upstream is the simulator, which fails as its prompt demands, on a route of each test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint
from tests.flows.rig import Operator, Person, Reply, eventually
from tests.flows.simulator import Simulated, simulate_upstream
from tests.flows.upstream import plain

MODEL: Final = "qwen3-7-plus"
GEMINI: Final = replace(CHAT, name="gemini", dialect="gemini", base_path="/v1beta")
UPSTREAMS: Final = (*TEXT_ENDPOINTS, GEMINI)
PAIRS: Final = [(caller, upstream) for caller in TEXT_ENDPOINTS for upstream in UPSTREAMS if caller is not upstream]
EACH_PAIR: Final = pytest.mark.parametrize(
    ("caller", "upstream"), PAIRS, ids=[f"{caller.name} of {upstream.name}" for caller, upstream in PAIRS]
)


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulated]:
    with simulate_upstream() as simulated:
        yield simulated


Simulate = Callable[..., Reply]


@pytest.fixture
def simulate(alice: Person, add_upstream: AddUpstream, simulated: Simulated, upstream: Endpoint) -> Simulate:
    """`simulate(CHAT, "cut=3", stream=True)`: a call whose upstream obeys."""
    add_upstream(upstream, plain(b"{}"), model=MODEL, base_url=simulated.root)

    def call(caller: Endpoint, orders: str, **fields: Any) -> Reply:
        return alice.call(caller.path, caller.body(f"[[simulate {orders}]] Write a story.", model=MODEL, **fields))

    return call


def assert_error_event(events: list[Any], caller: Endpoint, code: str) -> None:
    """The stream ends with the dialect's error, and with nothing that looks like a success."""
    if caller is RESPONSES:
        raised, failed = events[-2:]
        assert (raised["type"], raised["code"]) == ("error", code)
        assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        return
    error = events[-1]["error"]
    assert error["code"] == code
    if caller is MESSAGES:
        assert events[-1]["type"] == "error"
        assert not any(event["type"] in {"message_delta", "message_stop"} for event in events)
    else:
        assert "[DONE]" not in events
        assert not any(choice["finish_reason"] for event in events[:-1] for choice in event["choices"])


@EACH_PAIR
@pytest.mark.parametrize("orders", ["chunks=9 error-after=3", "chunks=9 cut=3"], ids=["error event", "cut"])
def test_a_stream_that_fails_half_way_ends_in_the_callers_error_and_costs_nothing(
    alice: Person, simulate: Simulate, caller: Endpoint, orders: str
) -> None:
    reply = simulate(caller, orders, stream=True)
    assert reply.status == 200
    code = "upstream_overloaded" if "error-after" in orders and b"overloaded" in reply.body else "upstream_error"
    assert_error_event(reply.events, caller, code)
    assert b"hypereal" not in reply.body.replace(b"Hypereal", b"")
    record = alice.newest_record()
    assert (record["status"], record["error_code"], record["credits_charged"]) == ("failed", code, 0)
    alice.assert_paid_nothing()


@EACH_PAIR
def test_a_plain_reply_that_fails_is_an_error_and_costs_nothing(
    alice: Person, simulate: Simulate, caller: Endpoint
) -> None:
    for orders in ("error-after=0", "cut=1"):
        reply = simulate(caller, orders)
        assert (reply.status, reply.code) == (502, "upstream_error")
        assert (reply.json.get("type") == "error") == caller.is_anthropic
    alice.assert_paid_nothing()


@EACH_PAIR
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("theirs", "ours", "code"),
    [(400, 400, "invalid_request"), (401, 502, "upstream_error"), (404, 502, "upstream_error"),
     (429, 503, "upstream_overloaded"), (500, 502, "upstream_error"), (503, 503, "upstream_overloaded")],
)  # fmt: skip
def test_an_upstreams_status_is_told_in_the_callers_shape(
    alice: Person, simulate: Simulate, caller: Endpoint, theirs: int, ours: int, code: str, is_stream: bool
) -> None:
    reply = simulate(caller, f"status={theirs} retry-after=7", stream=is_stream)
    assert (reply.status, reply.code) == (caller.status(ours), code)
    assert (reply.json.get("type") == "error") == caller.is_anthropic
    if code == "upstream_overloaded":
        assert reply.headers["retry-after"] == "7"
    alice.assert_paid_nothing()


@EACH_PAIR
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_an_upstream_that_counts_nothing_is_estimated(
    alice: Person, simulate: Simulate, caller: Endpoint, is_stream: bool
) -> None:
    reply = simulate(caller, "no-usage output-tokens=200", stream=is_stream)
    assert reply.status == 200
    record = alice.newest_record()
    assert (record["status"], record["estimated"]) == ("succeeded", True)
    assert 100 <= record["usage"]["output"] <= 400
    assert alice.balance == alice.opening_balance - record["credits_charged"]


MEANING: Final = [
    # what the caller asks for, the upstream that cannot say it, and the caller's own name for it
    (CHAT, RESPONSES, {"n": 2}, "n"),
    (CHAT, MESSAGES, {"n": 2}, "n"),
    (MESSAGES, RESPONSES, {"stop_sequences": ["END"]}, "stop_sequences"),
    (CHAT, RESPONSES, {"stop": ["END"]}, "stop"),
    (CHAT, MESSAGES, {"logprobs": True}, "logprobs"),
]


@pytest.mark.parametrize(("caller", "upstream", "fields", "field"), MEANING)
def test_meaning_that_the_upstream_cannot_say_is_refused_before_anything_is_held(
    alice: Person, add_upstream: AddUpstream, caller: Endpoint, upstream: Endpoint, fields: dict[str, Any], field: str
) -> None:
    script = add_upstream(upstream, plain(b"{}"), model=MODEL)
    reply = alice.call(caller.path, caller.body(model=MODEL, **fields))
    assert (reply.refusal, f"`{field}`" in reply.error["message"]) == ((400, "unsupported_field"), True)
    assert script.calls == []
    (record,) = eventually(alice.records)
    assert (record["status"], record["error_code"]) == ("refused", "unsupported_field")
    alice.assert_paid_nothing()


def test_what_is_left_out_is_named_in_the_header_and_in_the_log(alice: Person) -> None:
    body = CHAT.body(model="claude-haiku-latest", temperature=1.7, seed=7, hologram=True)
    for is_stream in (False, True):
        reply = alice.call(CHAT.path, {**body, "stream": is_stream})
        assert reply.status == 200
        named = reply.headers["x-hypereal-adapted"].split(", ")
        assert {"temperature: 1.7 -> 1", "seed: left out", "hologram: left out"} <= set(named)
        record = alice.newest_record()
        assert record["adapted"] == ", ".join(named)
        explained = alice.operator.run("explain", record["request_id"])
        assert explained["adapted"] == record["adapted"]


def test_a_call_that_is_not_translated_names_nothing(alice: Person) -> None:
    reply = alice.call(CHAT.path, CHAT.body(temperature=1.7, seed=7, hologram=True))
    assert reply.status == 200
    assert "x-hypereal-adapted" not in reply.headers
    assert alice.newest_record()["adapted"] is None


def test_a_lowered_maximum_reaches_the_upstream_and_is_told(operator: Operator, add_upstream: AddUpstream) -> None:
    """What the hold pays for is what the translated body asks for."""
    alice = operator.person("alice", credits=2)
    script = add_upstream(MESSAGES, plain(MESSAGES.reply()), model=MODEL)
    reply = alice.call(CHAT.path, CHAT.body(model=MODEL))
    assert reply.status == 200
    told = int(reply.headers["x-hypereal-max-tokens"])
    assert script.calls[0].json["max_tokens"] == told < 64_000


def test_a_messages_upstream_is_given_the_models_maximum_where_the_caller_names_none(
    alice: Person, add_upstream: AddUpstream
) -> None:
    script = add_upstream(MESSAGES, plain(MESSAGES.reply()), model=MODEL)
    asked: list[tuple[dict[str, Any], int]] = [({}, 64_000), ({"max_completion_tokens": 77}, 77)]
    for fields, expected in asked:
        assert alice.call(CHAT.path, CHAT.body(model=MODEL, **fields)).status == 200
        assert script.calls[-1].json["max_tokens"] == expected
    headers = script.calls[0].headers
    assert headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in headers


def test_betas_of_a_messages_caller_go_to_no_other_dialect(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, plain(CHAT.reply()), model=MODEL)
    body = MESSAGES.body(model=MODEL)
    assert alice.call(MESSAGES.path, body, anthropic_version="2023-06-01", anthropic_beta="x-1").status == 200
    assert not any(name.startswith("anthropic") for name in script.calls[0].headers)
