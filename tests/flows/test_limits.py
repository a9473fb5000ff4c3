"""Limits of keys, accounts and models: the right refusal, its facts, when to come back, in the dialect's own words."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream, SetPolicy
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint, Tokens
from tests.flows.rig import Operator, Person, Reply, eventually
from tests.flows.test_paying import call_all
from tests.flows.upstream import served
from tests.ledger.contract import keep_clear_of_the_hours_end


@pytest.fixture(autouse=True)
def steady_windows() -> None:
    """No budget window turns while a test runs."""
    keep_clear_of_the_hours_end()


DEAR = Tokens(input=100, output=400)


def next_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def next_day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


LIMITS: list[tuple[str, list[str], str, Any]] = [
    ("a key's lifetime limit", ["--limit", "{}"], "key_limit_exhausted", None),
    ("a key's daily budget", ["--daily", "{}"], "key_budget_exhausted", next_day),
    ("a key's hourly budget", ["--hourly", "{}"], "key_budget_exhausted", next_hour),
    ("a key's limit on one model", ["--model-limit", "MODEL={}"], "key_model_limit_exhausted", None),
]


def assert_budget_refusal(reply: Reply, endpoint: Endpoint, code: str, *, limit: Decimal, resets: Any) -> None:
    """402, what is spent of what, and when the window turns; nothing that makes a client try again."""
    assert reply.refusal == (402, code)
    assert (reply.headers["x-should-retry"], "retry-after" in reply.headers) == ("false", False)
    facts = reply.error["hypereal"]
    assert (facts["limit"], facts["value"]) == (code, limit)
    assert 0 < facts["used"] <= limit
    assert facts["needed"] > facts["available"] == limit - facts["used"]
    if resets is None:
        assert (facts["resets_at"], "x-hypereal-limit-reset" in reply.headers) == (None, False)
    else:
        turns = {shown(resets(datetime.now(UTC))), shown(resets(datetime.now(UTC) - timedelta(seconds=30)))}
        assert facts["resets_at"] == reply.headers["x-hypereal-limit-reset"]
        assert facts["resets_at"] in turns
    if endpoint.is_anthropic:
        assert (reply.json["type"], reply.error["type"]) == ("error", "billing_error")
        assert reply.json["request_id"] == reply.headers["request-id"]
    else:
        assert reply.error["type"] == "insufficient_quota"


@pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize(("options", "code", "resets"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
async def test_a_spent_budget_refuses_and_is_never_exceeded(
    alice: Person,
    add_upstream: AddUpstream,
    set_policy: SetPolicy,
    endpoint: Endpoint,
    options: list[str],
    code: str,
    resets: Any,
) -> None:
    set_policy(endpoint.model, concurrency=100)
    add_upstream(endpoint, served(endpoint, DEAR))
    body = endpoint.body(**endpoint.at_most(400))
    real = bill(endpoint.model, input=DEAR.input, output=DEAR.output)
    limit = 8 * bill(endpoint.model, input=2_000, output=400)
    key = alice.another_key(*(word.format(limit).replace("MODEL", endpoint.model) for word in options))
    replies = await call_all(key, endpoint, [body] * 60)
    spent = real * sum(reply.status == 200 for reply in replies)
    assert 0 < spent <= limit
    assert alice.balance == alice.opening_balance - spent
    eventually(lambda: alice.held == 0)
    assert_budget_refusal(key.call(endpoint.path, body), endpoint, code, limit=limit, resets=resets)
    assert alice.call(endpoint.path, body).status == 200
    elsewhere = RESPONSES if endpoint is not RESPONSES else CHAT
    other_model = key.call(elsewhere.path, elsewhere.body(model="gpt-5-5" if elsewhere is RESPONSES else None))
    if code == "key_model_limit_exhausted":
        assert other_model.status == 200


def test_an_accounts_daily_budget_counts_all_its_keys(
    alice: Person, operator: Operator, add_upstream: AddUpstream
) -> None:
    add_upstream(CHAT, served(CHAT, Tokens(input=100_000, output=50_000)))
    operator.run("set_account", alice.account_id, "--daily", 2)
    operator.tell_server()
    bob = alice.another_key()
    first = bob.call(CHAT.path, CHAT.body(max_tokens=100))
    assert (first.status, first.billing["credits_charged"]) == (200, 2)
    assert first.billing["absorbed"] == bill(CHAT.model, input=100_000, output=50_000) - 2
    assert_budget_refusal(
        alice.call(CHAT.path, CHAT.body(max_tokens=100)),
        CHAT,
        "account_budget_exhausted",
        limit=Decimal(2),
        resets=next_day,
    )
    operator.run("set_account", alice.account_id, "--daily", "none")
    operator.tell_server()
    assert alice.call(CHAT.path, CHAT.body(max_tokens=100)).status == 200


def test_a_served_call_is_explained_with_what_its_budgets_hold(alice: Person, operator: Operator) -> None:
    alice.set_key("--daily", 100, "--hourly", 50, "--limit", 500)
    reply = alice.call(CHAT.path, CHAT.body())
    cost = reply.billing["credits_charged"]
    limits = operator.run("explain", reply.headers["x-request-id"])["limits"]
    assert {(limit["period"], limit["spent"], limit["held"]) for limit in limits} == {
        ("daily", cost, 0),
        ("hourly", cost, 0),
        ("lifetime", cost, 0),
    }


def assert_rate_refusal(reply: Reply, endpoint: Endpoint, code: str, *, value: int, used: int) -> None:
    assert reply.refusal == (429, code)
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert "x-should-retry" not in reply.headers
    facts = reply.error["hypereal"]
    assert (facts["limit"], facts["value"], facts["used"]) == (code, value, used)
    family = "anthropic-ratelimit-requests-limit" if endpoint.is_anthropic else "x-ratelimit-limit-requests"
    assert reply.headers[family] == str(value)
    if endpoint.is_anthropic:
        assert (reply.json["type"], reply.error["type"]) == ("error", "rate_limit_error")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("code", ["key_rpm", "account_rpm", "key_model_rpm"])
def test_requests_per_minute(alice: Person, operator: Operator, endpoint: Endpoint, code: str) -> None:
    if code == "key_rpm":
        alice.set_key("--rpm", 2)
    elif code == "account_rpm":
        operator.run("set_account", alice.account_id, "--rpm", 2)
        operator.tell_server()
    else:
        alice.set_key("--model-limit", f"{endpoint.model}=none:2")
    body = endpoint.body()
    assert [alice.call(endpoint.path, body).status for _ in range(2)] == [200, 200]
    refused = alice.call(endpoint.path, body)
    assert_rate_refusal(refused, endpoint, code, value=2, used=2)
    record = alice.record_of(refused.headers["x-request-id"])
    assert (record["status"], record["error_code"], record["credits_charged"]) == ("refused", code, 0)
    story = operator.run("explain", refused.headers["x-request-id"])
    assert (story["refused_by"]["limit"], story["refused_by"]["value"]) == (code, "2")


def test_a_models_minute_counts_what_was_served_only(alice: Person, set_policy: SetPolicy) -> None:
    body = CHAT.body(model="qwen3-7-plus")

    def remaining(reply: Reply) -> int:
        return int(reply.headers["x-hypereal-managed-model-rpm-remaining"])

    before = remaining(alice.call(CHAT.path, body))
    alice.set_key("--rpm", 1)
    assert [alice.call(CHAT.path, body).status for _ in range(4)] == [200, 429, 429, 429]
    alice.set_key("--rpm", "none")
    # Others' calls may leave the window meanwhile; the three that were shed never entered it.
    assert remaining(alice.call(CHAT.path, body)) >= before - 2
    set_policy("qwen3-7-plus", rpm=1)
    refused = alice.call(CHAT.path, body)
    assert_rate_refusal(refused, CHAT, "model_rpm", value=1, used=refused.error["hypereal"]["used"])
    assert refused.error["hypereal"]["used"] >= 2


def test_tokens_per_minute(alice: Person, set_policy: SetPolicy) -> None:
    set_policy("kimi-latest", tpm=1_000)
    refused = alice.call(CHAT.path, CHAT.body(model="kimi-latest", max_tokens=100))
    assert refused.refusal == (429, "model_tpm")
    assert refused.error["type"] == "tokens"
    assert refused.headers["x-ratelimit-limit-tokens"] == "1000"
    assert refused.error["hypereal"]["needed"] > 1_000


def test_images_per_minute(alice: Person, set_policy: SetPolicy) -> None:
    assert alice.call(IMAGES.path, IMAGES.body(n=2)).status == 200
    set_policy("gpt-image-2", ipm=2)
    refused = alice.call(IMAGES.path, IMAGES.body())
    assert refused.refusal == (429, "model_ipm")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    facts = refused.error["hypereal"]
    assert (facts["limit"], facts["value"], facts["used"] >= 2) == ("model_ipm", 2, True)
    never = alice.call(IMAGES.path, IMAGES.body(n=3))
    assert (never.refusal, never.error["hypereal"]["needed"]) == ((429, "model_ipm"), 3)
    said = alice.call(CHAT.path, CHAT.body())
    assert said.status == 200


async def test_the_queue_lets_calls_wait_and_sheds_the_rest(
    alice: Person, add_upstream: AddUpstream, set_policy: SetPolicy
) -> None:
    set_policy(MESSAGES.model, concurrency=1, queue_length=4, queue_seconds=5)
    script = add_upstream(MESSAGES, served(MESSAGES, DEAR, gap_s=0.02))
    replies = await call_all(alice, MESSAGES, [MESSAGES.body(stream=True)] * 8)
    assert sorted(reply.status for reply in replies) == [200] * 3 + [529] * 5
    for reply in replies:
        if reply.status == 529:
            assert reply.code == "queue_full"
            assert (reply.json["type"], reply.error["type"]) == ("error", "overloaded_error")
            assert 1 <= int(reply.headers["retry-after"]) <= 5
            assert reply.error["hypereal"]["limit"] == "account_queue_length"
    assert len(script.calls) == 3
    waited = sorted(record["queue_ms"] for record in alice.records() if record["status"] == "succeeded")
    assert waited[0] == 0
    assert waited[2] > waited[1] > 100


async def test_a_call_that_waits_too_long_is_told(
    alice: Person, add_upstream: AddUpstream, set_policy: SetPolicy
) -> None:
    set_policy(CHAT.model, concurrency=1, queue_length=4, queue_seconds=1)
    add_upstream(CHAT, served(CHAT, DEAR, gap_s=0.5))
    replies = await call_all(alice, CHAT, [CHAT.body(stream=True)] * 2)
    (refused,) = [reply for reply in replies if reply.status != 200]
    assert refused.refusal == (503, "queue_timeout")
    assert (refused.error["type"], refused.headers["retry-after"]) == ("server_error", "1")
    assert refused.error["hypereal"]["value"] == 1
    assert len([record for record in alice.records() if record["status"] == "refused"]) == 1


async def test_without_a_queue_there_is_no_wait(
    alice: Person, add_upstream: AddUpstream, set_policy: SetPolicy
) -> None:
    set_policy(IMAGES.model, concurrency=1)
    add_upstream(IMAGES, served(IMAGES, gap_s=0.2))
    replies = await call_all(alice, IMAGES, [IMAGES.body(stream=True)] * 3)
    assert sorted(reply.status for reply in replies) == [200, 503, 503]
    assert {reply.code for reply in replies if reply.status == 503} == {"queue_full"}


async def test_who_hangs_up_in_the_queue_frees_the_place(
    alice: Person, add_upstream: AddUpstream, set_policy: SetPolicy
) -> None:
    set_policy(CHAT.model, concurrency=1, queue_length=2, queue_seconds=5)
    script = add_upstream(CHAT, served(CHAT, DEAR, gap_s=0.3))
    content = json.dumps(CHAT.body(stream=True))
    async with httpx2.AsyncClient(timeout=20, trust_env=False, verify=False) as client:

        async def call() -> int:
            url = f"{alice.server.url}{CHAT.path}"
            return (await client.post(url, content=content, headers=alice.headers())).status_code

        running = asyncio.create_task(call())
        await asyncio.to_thread(eventually, lambda: len(script.calls) == 1)
        waiting = asyncio.create_task(call())
        await asyncio.sleep(0.2)
        assert await call() == 503  # the account's one place is taken
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(0.2)
        assert await asyncio.gather(running, call()) == [200, 200]
    assert len(script.calls) == 2
    eventually(lambda: alice.held == 0)
