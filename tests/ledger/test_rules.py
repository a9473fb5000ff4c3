"""The rules alone: windows by the clock, and what no sequence of operations can bring about."""

from __future__ import annotations

import copy
import dataclasses
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.ids import new_id
from apps.ledger.books import ABSORBED, CASH, CUSTOMER
from apps.ledger.operations import (
    BalanceState,
    EntryState,
    Expire,
    Granted,
    Guard,
    Hold,
    HoldState,
    KeyState,
    Move,
    MoveRefused,
    NewEntry,
    Operation,
    Outcome,
    Release,
    Settle,
    Settled,
    State,
    WindowKey,
    WindowState,
)
from apps.ledger.rules import (
    DAILY,
    EPOCH,
    HOURLY,
    LIFETIME,
    decide,
    window_end,
    window_start,
)
from apps.usage.record import Record

NOON = datetime(2026, 11, 22, 12, 30, 15, 250, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "starts_at", "ends_at"),
    [
        (HOURLY, datetime(2026, 11, 22, 12, tzinfo=UTC), datetime(2026, 11, 22, 13, tzinfo=UTC)),
        (DAILY, datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)),
        (LIFETIME, EPOCH, None),
    ],
)
def test_windows_are_derived_from_the_clock(period: str, starts_at: datetime, ends_at: datetime | None) -> None:
    assert window_start(period, NOON) == starts_at
    assert window_start(period, starts_at) == starts_at
    assert window_end(period, starts_at) == ends_at
    if ends_at is not None:
        assert window_start(period, ends_at - timedelta(microseconds=1)) == starts_at
        assert window_start(period, ends_at) == ends_at


def test_windows_turn_in_utc_whatever_the_instants_zone_is() -> None:
    in_delhi = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert window_start(HOURLY, in_delhi) == datetime(2026, 11, 22, 12, tzinfo=UTC)
    late = datetime(2026, 11, 22, 20, tzinfo=UTC).astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert window_start(DAILY, late) == datetime(2026, 11, 22, tzinfo=UTC)


ACCOUNTS = (uuid.UUID(int=1), uuid.UUID(int=2))
KEYS = {uuid.UUID(int=11): ACCOUNTS[0], uuid.UUID(int=12): ACCOUNTS[0], uuid.UUID(int=21): ACCOUNTS[1]}
LIMITS = {(LIFETIME, "key_limit_exhausted"): 900, (HOURLY, "key_budget_exhausted"): 300}
BUDGET = Guard("account", DAILY, 700, "account_budget_exhausted")


@dataclass
class Books:
    """A store in memory that keeps what a database keeps, and gives the rules what a database would read."""

    now: datetime = NOON
    balances: dict[uuid.UUID, BalanceState] = field(
        default_factory=lambda: {account_id: BalanceState(0, 0, 0) for account_id in ACCOUNTS}
    )
    holds: dict[uuid.UUID, HoldState] = field(default_factory=dict)
    owners: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    windows: dict[WindowKey, WindowState] = field(default_factory=dict)
    limits: dict[WindowKey, int] = field(default_factory=dict)
    entries: list[NewEntry] = field(default_factory=list)
    charged: dict[uuid.UUID, tuple[int, int]] = field(default_factory=dict)

    def commit(self, operations: Sequence[Operation]) -> list[Outcome]:
        known = {
            (entry.operation_id, entry.kind): EntryState(
                entry.id, entry.amount_micro, entry.balance_before_micro, entry.balance_after_micro
            )
            for entry in self.entries
        }
        keys = {key_id: KeyState(is_suspended=False, is_frozen=False, expires_at=None) for key_id in KEYS}
        state = State(
            self.now, copy.deepcopy(self.balances), dict(self.holds), copy.deepcopy(self.windows), keys, known
        )
        outcomes, writes = decide(state, operations)
        for account_id in writes.balances:
            self.balances[account_id] = state.balances[account_id]
        for key in writes.windows:
            self.windows[key] = state.windows[key]
        for new in writes.new_holds:
            assert new.request_id not in self.holds
            self.holds[new.request_id] = HoldState(new.amount_micro, True, new.windows)
            self.owners[new.request_id] = new.account_id
            for window in new.windows:
                self.limits[new.account_id, window.scope, window.period, window.starts_at] = window.limit_micro
        for request_id in writes.ended_holds:
            del self.holds[request_id]
        for request_id in writes.expired_holds:
            self.holds[request_id] = dataclasses.replace(self.holds[request_id], is_open=False)
        self.entries.extend(writes.entries)
        return outcomes

    def check(self) -> None:
        """I1, I2, I5, I6, I7 and I9, after every batch."""
        open_holds = {request_id: hold for request_id, hold in self.holds.items() if hold.is_open}
        held: dict[uuid.UUID, int] = defaultdict(int)
        in_windows: dict[WindowKey, int] = defaultdict(int)
        for request_id, hold in open_holds.items():
            account_id = self.owners[request_id]
            held[account_id] += hold.amount_micro
            for window in hold.windows:
                in_windows[account_id, window.scope, window.period, window.starts_at] += hold.amount_micro
        for account_id, balance in self.balances.items():
            chain = [entry for entry in self.entries if entry.account_id == account_id]
            assert balance.balance_micro - balance.held_micro >= 0
            assert balance.held_micro == held[account_id]
            assert [entry.seq for entry in chain] == list(range(1, len(chain) + 1))
            assert balance.seq == len(chain)
            before = 0
            for entry in chain:
                assert entry.amount_micro > 0
                assert entry.balance_before_micro == before
                before += entry.amount_micro * ((entry.credit == CUSTOMER) - (entry.debit == CUSTOMER))
                assert entry.balance_after_micro == before >= 0
            assert balance.balance_micro == before
        for key, window_state in self.windows.items():
            assert window_state.spent_micro >= 0
            assert window_state.held_micro == in_windows[key]
            assert key[1] == ABSORBED or window_state.spent_micro + window_state.held_micro <= self.limits[key]
        assert len({(entry.operation_id, entry.kind) for entry in self.entries}) == len(self.entries)


def record(request_id: uuid.UUID, account_id: uuid.UUID) -> Record:
    return Record(request_id, account_id, new_id(), "m", "chat", False, NOON)


amounts = st.integers(min_value=0, max_value=1_000)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, int, int, int, bool]]:
    """What happens next: `(verb, whose, an amount, another, a flag)`; verbs that end a hold pick one made before."""
    verbs = st.sampled_from(["hold", "settle"] * 2 + ["release", "expire", "top_up", "take", "turn", "again"])
    return draw(
        st.lists(st.tuples(verbs, st.integers(0, 50), amounts, amounts, st.booleans()), min_size=1, max_size=40)
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=steps(), batch_size=st.integers(1, 6))
def test_no_sequence_of_operations_breaks_the_books(
    script: list[tuple[str, int, int, int, bool]], batch_size: int
) -> None:
    books = Books()
    made: list[Hold] = []
    told: list[Operation] = []
    batch: list[Operation] = []
    for verb, whose, amount, other, flag in script:
        if verb == "turn":
            books.now += timedelta(hours=1 + whose)
        elif (operation := next_operation(verb, whose, amount, other, flag, made=made, told=told)) is not None:
            if not isinstance(operation, (Hold, Move)) and operation.request_id in holds_of(batch):
                # Nobody ends a hold while it is asked for: who gave up waiting has taken it out of the queue.
                tell(books, batch)
                batch = []
            batch.append(operation)
            told.append(operation)
            if isinstance(operation, Hold) and verb == "hold":
                made.append(operation)
        if len(batch) == batch_size:
            tell(books, batch)
            batch = []
    tell(books, batch)
    tell(books, [Release(hold.request_id, hold.account_id, None) for hold in made])
    assert [balance.held_micro for balance in books.balances.values()] == [0, 0]


def holds_of(batch: Sequence[Operation]) -> set[uuid.UUID]:
    return {operation.request_id for operation in batch if isinstance(operation, Hold)}


def next_operation(
    verb: str, whose: int, amount: int, other: int, flag: bool, *, made: list[Hold], told: list[Operation]
) -> Operation | None:
    key_id = list(KEYS)[whose % len(KEYS)]
    account_id = KEYS[key_id]
    if verb == "top_up":
        return Move(new_id(), account_id, "top_up", CASH, CUSTOMER, amount + 1)
    if verb == "take":
        return Move(new_id(), account_id, "correction", CUSTOMER, CASH, amount + 1)
    if verb == "hold":
        limits = tuple(Guard(f"key:{key_id}", period, limit, code) for (period, code), limit in LIMITS.items())
        return Hold(
            request_id=new_id(),
            account_id=account_id,
            key_id=key_id,
            model_id="m",
            process_id=uuid.UUID(int=3),
            wanted_micro=max(amount, other),
            least_micro=min(amount, other),
            guards=(*limits, BUDGET) if flag else (BUDGET,),
        )
    if verb == "again":
        return told[-1] if told else None
    if not made:
        return None
    hold = made[whose % len(made)]
    if verb == "settle":
        return Settle(hold.request_id, hold.account_id, amount, record(hold.request_id, hold.account_id))
    if verb == "release":
        return Release(hold.request_id, hold.account_id, None)
    return Expire(hold.request_id, hold.account_id)


def tell(books: Books, batch: list[Operation]) -> None:
    """Commit a batch, and hold it against what it may do."""
    outcomes = books.commit(batch)
    assert len(outcomes) == len(batch)
    for operation, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, Granted):
            assert isinstance(operation, Hold)
            assert operation.least_micro <= outcome.amount_micro <= operation.wanted_micro
        elif isinstance(outcome, Settled):
            assert isinstance(operation, Settle)
            told = (outcome.charge_micro, outcome.absorbed_micro)
            if sum(told):
                # The first receipt is the receipt, whatever a later one asks for.
                assert books.charged.setdefault(operation.request_id, told) == told
            assert outcome.balance_before_micro - outcome.charge_micro == outcome.balance_after_micro
        elif isinstance(outcome, MoveRefused):
            assert isinstance(operation, Move)
            assert operation.debit == CUSTOMER
    books.check()
