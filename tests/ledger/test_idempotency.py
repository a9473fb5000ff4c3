"""Calls that name an idempotency key, on each hot path's store: who gets a hold, who is told of the first call."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from apps.core.tokens import TokenUsage
from apps.ledger import services
from apps.ledger.idempotency import KEPT_S, AlreadyServed, Idempotency, PastCall
from apps.ledger.models import IdempotencyKey
from apps.ledger.operations import Granted, Hold, HoldRefused, Outcome, Released, Settled
from apps.ledger.store import orm
from apps.ledger.store.statements import Statements
from tests.ledger.contract import Payer, StoreDoor, backend_store, entries, only, problems, purse

KEY, BODY, OTHER_BODY = "k" * 64, "b" * 64, "c" * 64


@pytest.fixture
def door(ledger_db: None, steady_windows: None) -> Iterator[StoreDoor]:
    opened = StoreDoor(backend_store())
    yield opened
    opened.close()


def named(payer: Payer, *, key: str = KEY, body: str = BODY, wanted: int = 100) -> Hold:
    return replace(payer.hold(wanted), idempotency=Idempotency(key, body))


def refusal(outcomes: list[Outcome]) -> str:
    return only(HoldRefused, outcomes).code


def past(outcomes: list[Outcome]) -> PastCall:
    (outcome,) = outcomes
    assert isinstance(outcome, AlreadyServed), outcome
    return outcome.past


def served(door: StoreDoor, payer: Payer, charge: int = 40, *, reply: bytes | None = None) -> Hold:
    """A call under KEY that was billed."""
    asked = named(payer)
    door.commit([asked])
    door.commit([replace(payer.settle(asked, charge), reply=reply)])
    return asked


def test_a_repeat_of_a_running_call_is_told_to_wait(door: StoreDoor, alice: Payer) -> None:
    only(Granted, door.commit([named(alice)]))
    refused = only(HoldRefused, door.commit([named(alice)]))
    assert (refused.code, refused.status, refused.retry_after_s) == ("idempotency_in_progress", 409, 1)
    assert purse(alice) == (1_000, 100)


def test_of_one_batch_the_first_gets_the_hold(door: StoreDoor, alice: Payer) -> None:
    outcomes = door.commit([named(alice) for _ in range(20)])
    assert [type(outcome) for outcome in outcomes] == [Granted] + [HoldRefused] * 19
    assert purse(alice) == (1_000, 100)


def test_a_repeat_of_a_billed_call_is_told_what_it_got(door: StoreDoor, alice: Payer) -> None:
    first = served(door, alice)
    told = past(door.commit([named(alice)]))
    assert told == PastCall(
        request_id=first.request_id,
        model_id="claude-sonnet-4-7",
        is_stream=False,
        received_at=told.received_at,
        usage=TokenUsage(input=1_200, output=300),
        is_estimated=False,
        charge_micro=40,
        absorbed_micro=0,
        balances_micro=(1_000, 960),
        reply=None,
    )
    assert (purse(alice), len(entries(alice))) == ((960, 0), 2)


def test_a_repeat_needs_no_credits(door: StoreDoor, alice: Payer) -> None:
    asked = named(alice, wanted=1_000)
    door.commit([asked])
    door.commit([alice.settle(asked, 1_000)])
    assert past(door.commit([named(alice, wanted=1_000)])).balances_micro == (1_000, 0)


def test_a_reply_is_kept_byte_for_byte(door: StoreDoor, alice: Payer) -> None:
    reply = bytes(range(256)) * 40
    served(door, alice, reply=reply)
    assert past(door.commit([named(alice)])).reply == reply


def test_another_body_under_the_same_key_is_a_mistake(door: StoreDoor, alice: Payer) -> None:
    asked = named(alice)
    door.commit([asked])
    assert refusal(door.commit([named(alice, body=OTHER_BODY)])) == "idempotency_mismatch"
    door.commit([alice.settle(asked, 40)])
    assert refusal(door.commit([named(alice, body=OTHER_BODY)])) == "idempotency_mismatch"


def test_a_call_that_failed_may_be_made_again_with_the_same_body(door: StoreDoor, alice: Payer) -> None:
    failed = named(alice)
    door.commit([failed])
    door.commit([alice.release(failed)])
    assert refusal(door.commit([named(alice, body=OTHER_BODY)])) == "idempotency_mismatch"
    again = named(alice)
    only(Granted, door.commit([again]))
    door.commit([alice.settle(again, 40)])
    assert past(door.commit([named(alice)])).request_id == again.request_id


def test_a_call_whose_process_died_frees_its_key_when_its_hold_expires(door: StoreDoor, alice: Payer) -> None:
    lost = named(alice)
    door.commit([lost])
    assert refusal(door.commit([named(alice)])) == "idempotency_in_progress"
    assert only(Released, door.commit([alice.expire(lost)])).was_open
    again = named(alice)
    only(Granted, door.commit([again]))
    # The lost one's settlement comes late: it is made, and the key stays the second call's.
    door.commit([alice.settle(lost, 10)])
    assert refusal(door.commit([named(alice)])) == "idempotency_in_progress"


def test_a_late_settlement_answers_the_repeats_of_its_call(door: StoreDoor, alice: Payer) -> None:
    lost = named(alice)
    door.commit([lost])
    door.commit([alice.expire(lost)])
    door.commit([alice.settle(lost, 10)])
    assert past(door.commit([named(alice)])).charge_micro == 10


def test_a_call_that_was_told_as_failed_is_not_served_before(door: StoreDoor, alice: Payer) -> None:
    asked = served(door, alice)
    door.commit([replace(alice.release(asked), annuls=True)])
    only(Granted, door.commit([named(alice)]))


def test_a_call_that_cost_nothing_is_not_made_twice(door: StoreDoor, alice: Payer) -> None:
    served(door, alice, 0)
    told = past(door.commit([named(alice)]))
    assert (told.charge_micro, told.balances_micro) == (0, None)


def test_a_refused_call_claims_nothing(door: StoreDoor, alice: Payer) -> None:
    assert refusal(door.commit([named(alice, wanted=1_001)])) == "insufficient_credits"
    assert not IdempotencyKey.objects.exists()
    only(Granted, door.commit([named(alice, body=OTHER_BODY)]))


def test_keys_are_the_accounts_own(door: StoreDoor, alice: Payer, charlie: Payer) -> None:
    served(door, alice)
    only(Granted, door.commit([named(charlie, body=OTHER_BODY)]))
    # Of all keys of the account, though.
    assert past(door.commit([named(alice)])).charge_micro == 40


def test_a_hold_that_is_told_again_is_its_own_first(door: StoreDoor, alice: Payer) -> None:
    asked = named(alice)
    first = only(Granted, door.commit([asked]))
    assert only(Granted, door.commit([asked], is_repeat=True)).amount_micro == first.amount_micro
    assert purse(alice) == (1_000, 100)


def age(seconds: int) -> None:
    row = IdempotencyKey.objects.get()
    IdempotencyKey.objects.update(claimed_at=row.claimed_at - timedelta(seconds=seconds))


def test_a_key_is_kept_for_a_day(door: StoreDoor, alice: Payer) -> None:
    served(door, alice, reply=b"{}")
    age(KEPT_S - 60)
    assert past(door.commit([named(alice)])).charge_micro == 40
    age(120)
    only(Granted, door.commit([named(alice, body=OTHER_BODY)]))
    row = IdempotencyKey.objects.get()
    assert (row.body_digest, row.reply) == (OTHER_BODY, None)


def test_old_keys_are_removed(ledger_db: None, alice: Payer) -> None:
    now = datetime.now(UTC)
    for number, hours in enumerate((1, 23, 25, 48)):
        IdempotencyKey.objects.create(
            account_id=alice.account_id,
            key_digest=str(number) * 64,
            body_digest=BODY,
            request_id=alice.hold(1).request_id,
            claimed_at=now - timedelta(hours=hours),
        )
    assert (services.forget_idempotency_keys(), services.forget_idempotency_keys()) == (2, 0)
    assert [key[0] for key in IdempotencyKey.objects.order_by("key_digest").values_list("key_digest", flat=True)] == [
        "0",
        "1",
    ]


def test_processes_agree_on_who_is_first(ledger_db: None, alice: Payer) -> None:
    def ask(_: int) -> list[str]:
        opened = StoreDoor(backend_store())
        try:
            return [type(opened.commit([named(alice, wanted=10)])[0]).__name__ for _ in range(5)]
        finally:
            opened.close()

    with ThreadPoolExecutor(4) as processes:
        told = [name for names in processes.map(ask, range(4)) for name in names]
    assert sorted(told) == ["Granted"] + ["HoldRefused"] * 19
    assert purse(alice) == (1_000, 10)


def test_a_named_call_costs_no_round_trip_more(door: StoreDoor, alice: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("round trips are to a server")
    answers, trips = Statements.answers, 0

    async def counted(self: Statements) -> list[bytes | None]:
        nonlocal trips
        trips += 1
        return await answers(self)

    monkeypatch.setattr(Statements, "answers", counted)
    asked = named(alice)
    door.commit([asked])
    assert trips == 2
    door.commit([replace(alice.settle(asked, 40), reply=b"{}")])
    assert trips == 4
    past(door.commit([named(alice)]))
    assert trips == 6


def test_what_has_no_key_reads_and_writes_none(door: StoreDoor, alice: Payer) -> None:
    asked = alice.hold(100)
    door.commit([asked])
    assert only(Settled, door.commit([replace(alice.settle(asked, 40), reply=b"{}")])).charge_micro == 40
    assert not IdempotencyKey.objects.exists()


def test_the_books_stay_sound(door: StoreDoor, alice: Payer) -> None:
    served(door, alice)
    door.commit([named(alice) for _ in range(3)])
    assert problems() == []


def test_commands_name_no_keys(ledger_db: None, alice: Payer) -> None:
    with pytest.raises(AssertionError, match="only callers"):
        orm.commit([named(alice)])
