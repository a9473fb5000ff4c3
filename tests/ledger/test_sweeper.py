"""Holds of processes that are gone expire; those of the living stay, also after an outage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.core.ids import new_id
from apps.ledger import sweeper
from apps.ledger.models import Hold as HoldRow
from apps.ledger.models import ProcessLease
from apps.ledger.operations import Guard, Hold, Settled
from apps.ledger.rules import DAILY
from apps.ledger.store import orm
from apps.ledger.sweeper import WATCH, expire_abandoned, sweep, sweep_all_but
from apps.ledger.verify import verify_ledger
from tests.ledger.contract import Payer, hold_state, only, purse, windows

GUARD = Guard("key:k", DAILY, 900, "key_budget_exhausted")


def lease(payer: Payer, *, ends_in_s: int) -> None:
    now = datetime.now(UTC)
    ProcessLease.objects.update_or_create(
        process_id=payer.process_id,
        defaults={"name": "web", "started_at": now, "expires_at": now + timedelta(seconds=ends_in_s)},
    )


def watched_since(*, s_ago: int, ends_in_s: int) -> None:
    now = datetime.now(UTC)
    ProcessLease.objects.update_or_create(
        process_id=WATCH,
        defaults={
            "name": "sweeper",
            "started_at": now - timedelta(seconds=s_ago),
            "expires_at": now + timedelta(seconds=ends_in_s),
        },
    )


@pytest.fixture
def abandoned(alice: Payer) -> Hold:
    """A hold of alice's process, whose lease was over ten seconds ago."""
    asked = alice.hold(400, guards=(GUARD,))
    orm.commit([asked])
    lease(alice, ends_in_s=-10)
    return asked


def test_holds_of_a_dead_process_expire_and_leave_tombstones(alice: Payer, abandoned: Hold) -> None:
    assert expire_abandoned() == 1
    assert (purse(alice), windows(alice)) == ((1_000, 0), {("key:k", DAILY): (0, 0)})
    assert hold_state(abandoned) == "expired"
    assert not ProcessLease.objects.exists()
    assert verify_ledger().problems == []
    assert expire_abandoned() == 0


def test_holds_of_a_live_process_stay(alice: Payer, charlie: Payer, abandoned: Hold) -> None:
    kept = charlie.hold(300)
    orm.commit([kept])
    lease(charlie, ends_in_s=20)
    assert expire_abandoned() == 1
    assert (hold_state(kept), purse(charlie)) == ("open", (1_000, 300))
    assert ProcessLease.objects.get().process_id == charlie.process_id


def test_holds_of_a_process_without_a_lease_expire(alice: Payer) -> None:
    asked = alice.hold(400)
    orm.commit([asked])
    assert expire_abandoned() == 1
    assert hold_state(asked) == "expired"


def test_a_settlement_after_the_sweep_charges_the_call(alice: Payer, abandoned: Hold) -> None:
    expire_abandoned()
    assert only(Settled, orm.commit([alice.settle(abandoned, 123)])) == Settled(123, 1_000, 877)
    assert windows(alice) == {("key:k", DAILY): (123, 0)}
    assert verify_ledger().problems == []


def test_more_holds_than_one_batch_expire(alice: Payer, charlie: Payer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "BATCH", 3)
    orm.commit([payer.hold(10) for _ in range(4) for payer in (alice, charlie)])
    assert expire_abandoned() == 8
    assert (purse(alice), purse(charlie)) == ((1_000, 0), (1_000, 0))


def test_tombstones_are_kept_for_a_week(alice: Payer, abandoned: Hold) -> None:
    expire_abandoned()
    HoldRow.objects.update(expired_at=datetime.now(UTC) - timedelta(days=6, hours=23))
    expire_abandoned()
    assert hold_state(abandoned) == "expired"
    HoldRow.objects.update(expired_at=datetime.now(UTC) - timedelta(days=7, minutes=1))
    expire_abandoned()
    assert hold_state(abandoned) is None


def test_nothing_expires_before_the_database_was_in_reach_for_a_lease(alice: Payer, abandoned: Hold) -> None:
    assert sweep() == 0
    assert sweep() == 0
    watched_since(s_ago=29, ends_in_s=20)
    assert sweep() == 0
    assert hold_state(abandoned) == "open"
    watched_since(s_ago=31, ends_in_s=20)
    assert sweep() == 1
    assert hold_state(abandoned) == "expired"
    assert [row.process_id for row in ProcessLease.objects.all()] == [WATCH]


def test_after_an_outage_the_living_have_time_to_say_so(alice: Payer, abandoned: Hold) -> None:
    """Every lease ended in the outage, the sweepers' own too."""
    watched_since(s_ago=3_600, ends_in_s=-1)
    assert sweep() == 0
    lease(alice, ends_in_s=30)
    watched_since(s_ago=31, ends_in_s=20)
    assert sweep() == 0
    assert hold_state(abandoned) == "open"


def test_sweeps_keep_their_watch_alive(ledger_db: None) -> None:
    watched_since(s_ago=100, ends_in_s=1)
    sweep()
    watch = ProcessLease.objects.get()
    left_s = (watch.expires_at - datetime.now(UTC)).total_seconds()
    assert 28 <= left_s <= 30
    assert (datetime.now(UTC) - watch.started_at).total_seconds() >= 100


def test_a_clock_that_went_back_begins_the_watch_anew(alice: Payer, abandoned: Hold) -> None:
    """The database's clock was an hour ahead for a while: sweeps must not wait until it is there again."""
    watched_since(s_ago=-3_600, ends_in_s=3_630)
    assert sweep() == 0
    watch = ProcessLease.objects.get(process_id=WATCH)
    assert abs((datetime.now(UTC) - watch.started_at).total_seconds()) < 5
    assert (watch.expires_at - datetime.now(UTC)).total_seconds() <= 30
    assert hold_state(abandoned) == "open"


def test_a_lease_from_before_the_clock_went_back_lasts_no_longer_than_others(alice: Payer, abandoned: Hold) -> None:
    lease(alice, ends_in_s=3_630)
    watched_since(s_ago=100, ends_in_s=20)
    assert sweep() == 0
    left_s = (ProcessLease.objects.get(process_id=alice.process_id).expires_at - datetime.now(UTC)).total_seconds()
    assert 25 <= left_s <= 30
    assert hold_state(abandoned) == "open"


def test_the_only_process_expires_all_others_at_once(alice: Payer, charlie: Payer) -> None:
    mine, theirs = alice.hold(400), charlie.hold(300)
    orm.commit([mine, theirs])
    lease(alice, ends_in_s=30)
    lease(charlie, ends_in_s=30)
    watched_since(s_ago=5, ends_in_s=20)
    assert sweep_all_but(alice.process_id) == 1
    assert (hold_state(mine), hold_state(theirs)) == ("open", "expired")
    assert set(ProcessLease.objects.values_list("process_id", flat=True)) == {alice.process_id, WATCH}
    assert sweep_all_but(new_id()) == 1
    assert (purse(alice), purse(charlie)) == ((1_000, 0), (1_000, 0))
