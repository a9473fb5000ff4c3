"""Rate-limit headers tell the truth, in the family of the dialect called, on replies and on refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, MESSAGES, Endpoint
from tests.flows.rig import Person, Reply, eventually
from tests.flows.upstream import plain, served

FIGURES = {
    "x-hypereal-managed-governor",
    "x-hypereal-managed-model-concurrency-limit",
    "x-hypereal-managed-model-concurrency-remaining",
    "x-hypereal-managed-model-rpm-limit",
    "x-hypereal-managed-model-rpm-remaining",
    "x-hypereal-capacity-requests-remaining",
    "x-hypereal-managed-circuit",
}
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def family(reply: Reply, endpoint: Endpoint, what: str) -> tuple[int, int, float]:
    """The limit, what is left of it, and the seconds until it turns."""
    if not endpoint.is_anthropic:
        limit, left, reset = (reply.headers[f"x-ratelimit-{name}-{what}"] for name in ("limit", "remaining", "reset"))
        minutes, _, seconds = reset.removesuffix("s").rpartition("m")
        return int(limit), int(left), int(minutes or 0) * 60 + int(seconds)
    limit, left, reset = (
        reply.headers[f"anthropic-ratelimit-{what}-{name}"] for name in ("limit", "remaining", "reset")
    )
    turns_at = datetime.strptime(reset, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return int(limit), int(left), (turns_at - datetime.now(UTC)).total_seconds()


@EACH
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_the_tightest_limit_is_told_with_what_is_left_of_it(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    add_upstream(endpoint, served(endpoint))
    alice.set_key("--rpm", 3)
    body = endpoint.body(stream=is_stream)
    replies = [alice.call(endpoint.path, body) for _ in range(3)]
    for left, reply in zip((2, 1, 0), replies, strict=True):
        assert (reply.status, FIGURES - set(reply.headers)) == (200, set())
        limit, remaining, resets_in_s = family(reply, endpoint, "requests")
        assert (limit, remaining) == (3, left)
        assert 40 < resets_in_s <= 61
        tokens_limit, tokens_left, _ = family(reply, endpoint, "tokens")
        assert 0 < tokens_left < tokens_limit
        others = "x-ratelimit" if endpoint.is_anthropic else "anthropic-ratelimit"
        assert not [name for name in reply.headers if name.startswith(others)]
    refused = alice.call(endpoint.path, body)
    assert refused.refusal == (429, "key_rpm")
    limit, remaining, resets_in_s = family(refused, endpoint, "requests")
    assert (limit, remaining) == (3, 0)
    assert abs(resets_in_s - int(refused.headers["retry-after"])) <= 2
    told = datetime.fromisoformat(refused.error["hypereal"]["resets_at"])
    assert abs(told - datetime.now(UTC) - timedelta(seconds=resets_in_s)) < timedelta(seconds=3)


def test_input_and_output_share_one_limit_of_tokens(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, served(MESSAGES))
    reply = alice.call(MESSAGES.path, MESSAGES.body())
    shared = {family(reply, MESSAGES, what)[:2] for what in ("tokens", "input-tokens", "output-tokens")}
    assert len(shared) == 1


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES], ids=lambda endpoint: endpoint.name)
def test_refusals_after_admission_tell_all_figures(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, plain(b"{}", status=500))
    poor = alice.another_key("--limit", "0.000001")
    unpaid = poor.call(endpoint.path, endpoint.body())
    assert (unpaid.status, FIGURES - set(unpaid.headers)) == (402, set())
    assert (unpaid.headers["x-should-retry"], "retry-after" in unpaid.headers) == ("false", False)
    failed = [alice.call(endpoint.path, endpoint.body()) for _ in range(10)]
    assert [reply.headers["x-hypereal-managed-circuit"] for reply in failed[:9]] == ["closed"] * 9

    def shed_call() -> Reply | None:
        # A shared circuit is told of the tenth failure a moment later.
        reply = alice.call(endpoint.path, endpoint.body())
        return reply if reply.code == "circuit_open" else None

    shed = eventually(shed_call)
    assert shed.headers["x-hypereal-managed-circuit"] == "open"
    assert len(script.calls) <= 12
    for reply in (*failed, shed):
        assert set(reply.headers) >= FIGURES
        assert family(reply, endpoint, "requests")[0] > 0


def test_who_is_nobody_is_told_nothing_of_capacity(alice: Person) -> None:
    stranger = alice.call(CHAT.path, CHAT.body(), authorization="Bearer ck_nobody")
    assert stranger.status == 401
    assert not [name for name in stranger.headers if "ratelimit" in name or "managed" in name]
