"""A client that loops: its key's rate and budget stop it, it costs next to nothing, and who adds credits ends it."""

from __future__ import annotations

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, MESSAGES
from tests.flows.rig import Operator, Person, eventually
from tests.flows.upstream import served

CALLS = 60
LOGGED = 10
"""Of a key, in ten seconds."""


def test_a_rate_stops_it(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT))
    alice.set_key("--rpm", 3)
    replies = [alice.call(CHAT.path, CHAT.body(f"Attempt {number}")) for number in range(CALLS)]
    assert [reply.status for reply in replies] == [200] * 3 + [429] * (CALLS - 3)
    assert len(script.calls) == 3
    for reply in replies[3:]:
        facts = reply.error["hypereal"]
        assert (reply.refusal[1], facts["limit"], facts["value"], facts["used"]) == ("key_rpm", "key_rpm", 3, 3)
        assert 1 <= int(reply.headers["retry-after"]) <= 60
    # What it may still do is not touched: another dialect's path, another key.
    assert alice.call(MESSAGES.path, MESSAGES.body()).refusal == (429, "key_rpm")
    assert alice.another_key().call(CHAT.path, CHAT.body()).status == 200
    alice.set_key("--rpm", 100)
    assert alice.call(CHAT.path, CHAT.body()).status == 200


def test_a_budget_stops_it_and_is_not_asked_again(alice: Person, operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT))
    alice.set_key("--hourly", "0.0001")
    replies = [alice.call(CHAT.path, CHAT.body()) for _ in range(CALLS)]
    assert {reply.refusal for reply in replies} == {(402, "key_budget_exhausted")}
    assert len({str(reply.error) for reply in replies}) == 1, "each is told the same"
    assert not script.calls
    records = operator.run("usage", alice.account_id, "--last", CALLS)["records"]
    assert len(records) <= 2 * LOGGED
    alice.set_key("--hourly", "1000")
    assert alice.call(CHAT.path, CHAT.body()).status == 200


def test_whoever_adds_credits_is_served_within_a_second(operator: Operator, alice: Person) -> None:
    balance = alice.balance
    operator.run("correct", alice.account_id, f"-{balance}", "--reference", "taken", "--reason", "a test of an end")
    for _ in range(10):
        assert alice.call(CHAT.path, CHAT.body()).refusal == (402, "insufficient_credits")
    operator.run("top_up", alice.account_id, 100, "--reference", "given")
    eventually(lambda: alice.call(CHAT.path, CHAT.body()).status == 200, timeout_s=2)
