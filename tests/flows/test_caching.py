"""`X-Hypereal-Cache: true` asks for prompt caching; where that is done depends on the model, and who did not ask is
left alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, MESSAGES, RESPONSES, Endpoint
from tests.flows.rig import Person
from tests.flows.upstream import served

ASKED = {"x_hypereal_cache": "true", "x_session_id": "session-1"}


def test_claude_is_told_a_breakpoint(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES))
    assert alice.call(MESSAGES.path, MESSAGES.body(), **ASKED).status == 200
    assert alice.call(MESSAGES.path, MESSAGES.body()).status == 200
    assert [call.json.get("cache_control") for call in script.calls] == [{"type": "ephemeral"}, None]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, MESSAGES], ids=lambda endpoint: endpoint.name)
def test_a_long_session_reads_its_prompt_from_the_cache_and_costs_less(alice: Person, endpoint: Endpoint) -> None:
    """The simulator knows a prompt only by its real bytes: what differs in a prefix is not read."""
    asked, asked_usages = ten_turns(alice, endpoint, "cached " + endpoint.name, **ASKED)
    unasked, unasked_usages = ten_turns(alice, endpoint, "plain " + endpoint.name)
    assert asked_usages[0]["cache_read"] == 0
    assert all(usage["cache_read"] > 0 for usage in asked_usages[1:])
    reads = [usage["cache_read"] for usage in asked_usages]
    assert reads == sorted(reads)
    assert not any(usage["cache_read"] or usage["cache_write_5m"] for usage in unasked_usages)
    assert asked < unasked / 2


def ten_turns(person: Person, endpoint: Endpoint, name: str, **headers: str) -> tuple[Decimal, list[dict[str, int]]]:
    """What a conversation of ten turns with a long beginning costs, and what each call used."""
    told = f"This conversation is called {name}. " + "The rules of the house are long and do not change. " * 200
    turns: list[dict[str, Any]] = []
    cost, usages = Decimal(0), []
    for number in range(10):
        turns.append({"role": "user", "content": f"{told if number == 0 else ''}Question {number}?"})
        said: dict[str, Any] = {"input" if endpoint is RESPONSES else "messages": turns}
        body = endpoint.body(model="claude-sonnet-4-7", **said)
        reply = person.call(endpoint.path, body, **headers)
        assert reply.status == 200
        cost += reply.billing["credits_charged"]
        usages.append(person.record_of(reply.headers["x-request-id"])["usage"])
        turns.append({"role": "assistant", "content": f"Answer {number}."})
    return cost, usages


def test_a_model_that_caches_by_itself_gets_one_key_for_the_session(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT))
    for headers in (ASKED, ASKED, {"x_session_id": "session-1"}):
        assert alice.call(CHAT.path, CHAT.body(cache_control={"type": "ephemeral"}), **headers).status == 200
    assert alice.call(CHAT.path, CHAT.body(), x_session_id="session-1").status == 200
    *keys, unasked = [call.json.get("prompt_cache_key") for call in script.calls]
    assert (len(set(keys)), str(keys[0]).endswith(":session-1"), unasked) == (1, True, None)
    assert not any("cache_control" in call.json for call in script.calls)
