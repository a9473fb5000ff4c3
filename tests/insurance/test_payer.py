"""Who makes a payout: the worker that was told, else this process; never nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from apps.insurance import payer
from apps.insurance.payer import Payer

PATIENCE_S = 5.0


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payer, "GATHER_S", 0.02)


class Office:
    """A worker and a database that do what a test says; writes down what happened, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.broker: Exception | None = None
        self.database: list[Exception | int] = []
        """What becomes of the next looks; 0 after that."""
        self._changed = threading.Condition()

    def tell(self) -> None:
        self._note("told")
        if self.broker is not None:
            raise self.broker

    def pay(self) -> int:
        outcome = self.database.pop(0) if self.database else 0
        self._note("paid" if outcome == 0 else "failed")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def after(self) -> None:
        self._note("after")

    def _note(self, what: str) -> None:
        with self._changed:
            self.log.append(what)
            self._changed.notify_all()

    def wait_for(self, what: str, times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.log.count(what) >= times, timeout=PATIENCE_S), self.log


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def make(office: Office) -> Iterator[object]:
    made: list[Payer] = []

    def start(*, has_worker: bool = True, look_again_s: float = 60, look_every_s: float = 60) -> Payer:
        each = Payer(
            pay=office.pay,
            tell=office.tell if has_worker else None,
            after=office.after,
            look_again_s=look_again_s,
            look_every_s=look_every_s,
            retry_s=0.02,
        )
        each.start()
        made.append(each)
        return each

    yield start
    for each in made:
        each.stop()


def test_nothing_is_asked_of_anybody_before_something_is_due(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    make()
    time.sleep(0.1)
    assert office.log == []


def test_without_a_worker_the_process_pays_at_once(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    make(has_worker=False).note()
    office.wait_for("after")
    assert office.log == ["paid", "after"]


def test_a_worker_is_told_once_of_all_that_comes_together(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    telling = make()
    for _ in range(100):
        telling.note()
    office.wait_for("told")
    time.sleep(0.1)
    assert office.log == ["told"]


def test_what_comes_while_a_worker_is_at_it_is_told_too(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    telling = make()
    telling.note()
    office.wait_for("told")
    telling.note()
    office.wait_for("told", 2)
    assert "paid" not in office.log


def test_whoever_comes_again_and_again_keeps_nobody_from_looking(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    telling = make(look_again_s=0.1)
    ends_at = time.monotonic() + PATIENCE_S
    while "paid" not in office.log and time.monotonic() < ends_at:
        telling.note()
        time.sleep(0.005)
    assert office.log.count("told") >= 2
    assert "paid" in office.log


def test_the_process_looks_whether_the_worker_did_it(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    make(look_again_s=0.05).note()
    office.wait_for("after")
    assert office.log == ["told", "paid", "after"]


def test_where_the_broker_is_away_the_process_pays_at_once(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    office.broker = OSError("connection refused")
    make().note()
    office.wait_for("after")
    assert office.log == ["told", "paid", "after"]


def test_what_cannot_be_paid_now_is_tried_again(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    office.database = [OSError("away"), 1]
    make(has_worker=False).note()
    office.wait_for("paid")
    office.wait_for("after", 3)
    assert office.log == ["failed", "after", "failed", "after", "paid", "after"]


def test_claims_of_others_are_found_without_being_told(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    make(look_every_s=0.05)
    office.wait_for("paid", 2)
    assert "told" not in office.log


def test_it_stops_while_it_waits(office: Office, make) -> None:  # type: ignore[no-untyped-def]
    waiting = make()
    waiting.note()
    office.wait_for("told")
    began = time.monotonic()
    waiting.stop()
    assert time.monotonic() - began < PATIENCE_S
    assert threading.active_count() < 50
