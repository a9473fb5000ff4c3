"""Every move that there is, in any order, on a store and on the model beside it: after each step both say the same.

What people move goes through the services, what calls move through the hot path's store. `test_machine.py` runs it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django.db import transaction
from django.db.models import F
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.accounts.services import set_account
from apps.core import clock
from apps.core.ids import new_id
from apps.core.money import Credits
from apps.insurance.services import pay_due
from apps.ledger import services
from apps.ledger.budgets import tend_windows
from apps.ledger.models import Balance, BudgetWindow, ClosedWindow, Entry, Grant
from apps.ledger.models import Hold as HoldRow
from apps.ledger.operations import (
    Expire,
    Granted,
    Guard,
    Hold,
    HoldRefused,
    Operation,
    Outcome,
    Release,
    Released,
    Settle,
    Settled,
    Waiting,
)
from apps.ledger.store import orm
from apps.ledger.sweeper import sweep_grants
from apps.usage.models import UsageRecord
from tests.ledger.contract import Clock, Door, Payer, open_payer, problems
from tests.ledger.model import Account, Scope

MODEL_ID: Final = "claude-sonnet-4-7"
UNLIMITED: Final = 2**50
HOUR: Final = timedelta(hours=1)

amounts = st.integers(0, 400)
some = st.integers(1, 400)
which = st.integers(0, 10**6)
percents = st.sampled_from([0, 25, 100, 100])


class LedgerMachine(RuleBasedStateMachine):
    """One account's life. `door` is set by the test: the way that the gateway commits."""

    door: ClassVar[Door]
    clock: ClassVar[Clock | None] = None
    """The embedded store's, which goes on a little with each step."""
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.model = Account()
        self.holds: list[Hold] = []
        self.quotes: dict[str, tuple[int, int, bool]] = {}
        self.due: dict[uuid.UUID, UsageRecord] = {}
        """Records of streams that insurance owes for, put by where hours pass."""
        self.checked = 0

    @initialize()
    def open_account(self) -> None:
        self.payer: Payer = open_payer(new_id().hex)
        key = f"key:{self.payer.key_id}"
        self.codes: dict[Scope, str] = {
            ("account", "daily"): "account_budget_exhausted",
            (key, "lifetime"): "key_limit_exhausted",
            (key, "daily"): "key_budget_exhausted",
            (key, "hourly"): "key_budget_exhausted",
            (f"{key}:{MODEL_ID}", "lifetime"): "key_model_limit_exhausted",
        }
        set_account(account_id=self.payer.account_id, actor="tests", absorbed_cap=None)
        self.model.cap = None
        self.open_windows()

    # Money that people move.

    @rule(amount=some)
    def top_up(self, amount: int) -> None:
        self.move(services.top_up, amount, lambda: self.model.top_up(amount))

    @rule(amount=some, priority=st.integers(0, 2), lasts=st.none() | st.integers(1, 30))
    def grant(self, amount: int, priority: int, lasts: int | None) -> None:
        self.move(
            services.grant,
            amount,
            lambda: self.model.grant(amount, priority=priority, lasts=lasts),
            priority=priority,
            expires_at=None if lasts is None else clock.now() + lasts * HOUR,
        )

    @rule(amount=st.integers(-400, 400).filter(bool))
    def correct(self, amount: int) -> None:
        self.move(services.correct, amount, lambda: self.model.correct(amount), reason="counted twice")

    @rule(amount=some, stays_frozen=st.booleans())
    def claw_back(self, amount: int, stays_frozen: bool) -> None:
        told: list[tuple[int, int]] = []
        moved = self.move(services.claw_back, amount, lambda: told.append(self.model.claw_back(amount)))
        assert moved is not None
        assert [(moved.amount.micro, moved.owed.micro)] == told
        if self.model.is_frozen and not stays_frozen:
            self.unfreeze()

    @precondition(lambda self: self.model.is_frozen)
    @rule()
    def unfreeze(self) -> None:
        set_account(account_id=self.payer.account_id, actor="tests", status="active")
        self.model.is_frozen = False

    @precondition(lambda self: self.holds)
    @rule(call=which, amount=some)
    def refund(self, call: int, amount: int) -> None:
        hold = self.holds[call % len(self.holds)]
        self.move(services.refund, amount, lambda: self.model.refund(name(hold), amount), request_id=hold.request_id)

    @rule(cap=st.none() | st.integers(0, 300))
    def set_cap(self, cap: int | None) -> None:
        amount = None if cap is None else Credits(cap)
        set_account(account_id=self.payer.account_id, actor="tests", absorbed_cap=amount)
        self.model.cap = cap

    @rule(cap=st.none() | st.integers(0, 100))
    def set_insurance_cap(self, cap: int | None) -> None:
        amount = None if cap is None else Credits(cap)
        set_account(account_id=self.payer.account_id, actor="tests", insurance_cap=amount)
        self.model.insurance_cap = cap

    # Calls.

    @rule(wanted=amounts, least=amounts, limits=st.lists(st.none() | amounts, min_size=5, max_size=5))
    def hold(self, wanted: int, least: int, limits: list[int | None]) -> None:
        self.commit([self.new_hold(max(wanted, least), min(wanted, least), limits)])

    @rule(wanted=amounts)
    def hold_without_limits(self, wanted: int) -> None:
        self.commit([self.new_hold(wanted, wanted, [None] * 5)])

    @precondition(lambda self: self.holds)
    @rule(call=which, quote=amounts, percent=percents, is_stream=st.booleans())
    def settle(self, call: int, quote: int, percent: int, is_stream: bool) -> None:
        self.commit([self.end_of(call, quote, percent, is_stream)])

    @rule(quote=some, percent=percents, is_stream=st.booleans())
    def serve(self, quote: int, percent: int, is_stream: bool) -> None:
        """A whole call: holds that are only ever asked for seldom meet their own settlement."""
        asked = self.new_hold(quote, 0, [None] * 5)
        self.commit([asked])
        if asked in self.holds:
            self.commit([self.end_of(self.holds.index(asked), quote, percent, is_stream)])

    @precondition(lambda self: self.model.due)
    @rule()
    def pay_due(self) -> None:
        """What insurance owes, found by its records: also those of days ago."""
        for row in self.due.values():
            row.save(force_insert=True)
        pay_due()
        self.model.lapse()
        for call in sorted(self.model.due):
            self.model.pay_due(call)
        UsageRecord.objects.filter(request_id__in=self.due).delete()
        self.due.clear()

    @precondition(lambda self: self.holds)
    @rule(call=which, is_expiry=st.booleans())
    def give_back(self, call: int, is_expiry: bool) -> None:
        hold = self.holds[call % len(self.holds)]
        release = Release(hold.request_id, hold.account_id, None)
        self.commit([Expire(hold.request_id, hold.account_id) if is_expiry else release])

    @precondition(lambda self: self.holds)
    @rule(calls=st.lists(st.tuples(which, amounts), max_size=4), wanted=amounts, least=amounts)
    def commit_many(self, calls: list[tuple[int, int]], wanted: int, least: int) -> None:
        """A batch: what gives back goes before what asks, in whatever order they come."""
        ends = [self.end_of(call, quote) for call, quote in calls]
        once = list({end.request_id: end for end in ends}.values())
        self.commit([self.new_hold(max(wanted, least), min(wanted, least), [None] * 5), *once])

    @precondition(lambda self: self.holds)
    @rule(call=which)
    def ask_again(self, call: int) -> None:
        """What was granted and still is open is granted again, and nothing more."""
        hold = self.holds[call % len(self.holds)]
        known = self.model.holds.get(name(hold))
        if known is not None and known.is_open:
            self.commit([hold], is_repeat=True)

    # Time.

    @rule()
    def an_hour_passes(self) -> None:
        self.model.hour += 1
        self.let_pass(hours=1)
        self.open_windows()

    @rule()
    def a_day_passes(self) -> None:
        self.model.hour += 24
        self.model.day += 1
        self.let_pass(hours=24)
        self.open_windows()

    @rule()
    def tend(self) -> None:
        tend_windows()

    @rule()
    def sweep(self) -> None:
        sweep_grants()
        self.model.lapse()

    # What must be the same.

    @invariant()
    def agrees(self) -> None:
        type(self).steps += 1
        if self.clock is not None:
            self.clock.advance(milliseconds=1)
        if not hasattr(self, "payer"):
            return
        row = Balance.objects.get(account_id=self.payer.account_id)
        assert (row.balance_micro, row.held_micro, row.owed_micro) == (
            self.model.balance,
            self.model.held,
            self.model.owed,
        )
        remaining = Grant.objects.filter(account_id=self.payer.account_id).order_by("created_at", "id")
        assert list(remaining.values_list("remaining_micro", flat=True)) == [given.left for given in self.model.given]
        entries = Entry.objects.filter(account_id=self.payer.account_id, seq__gt=self.checked).order_by("seq")
        added = list(entries.values_list("kind", "amount_micro", "granted_micro"))
        assert added == self.model.entries[self.checked :]
        self.checked += len(added)
        self.compare_windows()

    def compare_windows(self) -> None:
        now = orm.store_instant().astimezone(UTC)
        hour, day = (
            now.replace(minute=0, second=0, microsecond=0),
            now.replace(hour=0, minute=0, second=0, microsecond=0),
        )
        kept: dict[tuple[str, str, datetime], tuple[int, int]] = {}
        for window in BudgetWindow.objects.filter(account_id=self.payer.account_id):
            kept[window.scope, window.period, window.starts_at] = (window.spent_micro, window.held_micro)
        for closed in ClosedWindow.objects.filter(account_id=self.payer.account_id):
            kept.setdefault((closed.scope, closed.period, closed.starts_at), (closed.spent_micro, 0))
        expected = {}
        for scope, period in self.codes:
            latest = self.model.number(period)
            for number in range(latest + 1):
                counted = (scope, period, number)
                told = (self.model.spent.get(counted, 0), self.model.held_in(counted))
                starts_at = {
                    "hourly": hour - (latest - number) * HOUR,
                    "daily": day - (latest - number) * 24 * HOUR,
                    "lifetime": datetime(1970, 1, 1, tzinfo=UTC),
                }[period]
                if any(told) or (scope, period, starts_at) in kept:
                    expected[scope, period, starts_at] = told
        for scope, days in (("absorbed", self.model.absorbed), ("compensation", self.model.insured)):
            for number, paid in days.items():
                if paid:
                    expected[scope, "daily", day - (self.model.day - number) * 24 * HOUR] = (paid, 0)
        assert kept == expected

    def teardown(self) -> None:
        """The proof, of this life: what a former one left wrong must not lengthen the search for the shortest."""
        if hasattr(self, "payer"):
            mine = str(self.payer.account_id)
            found = [problem for problem in problems() if mine in problem or not problem.startswith("account ")]
            # These lives have percentages and no policies: what policies promised is proved in tests/insurance.
            found = [problem for problem in found if not problem.endswith("by a policy that is not on file")]
            assert not found, found

    # How.

    def move(
        self, service: Callable[..., services.Movement], amount: int, told: Callable[[], bool | None], **more: Any
    ) -> services.Movement | None:
        """What a person asks for, and what the model says of it; None where both refuse."""
        try:
            moved = service(
                account_id=self.payer.account_id,
                amount=Credits(amount),
                reference=new_id().hex,
                actor="tests",
                **more,
            )
        except services.BadMovement:
            assert told() is False
            self.lapse()
            return None
        self.model.lapse()
        assert told() is not False
        self.model.lapse()
        return moved

    def lapse(self) -> None:
        """Let expired credits go on both sides: a movement that is refused may have done so or not."""
        orm.commit([Release(new_id(), self.payer.account_id, None)])
        self.model.lapse()

    def new_hold(self, wanted: int, least: int, limits: list[int | None]) -> Hold:
        guards = tuple(
            Guard(scope, period, limit, code)
            for ((scope, period), code), limit in zip(self.codes.items(), limits, strict=True)
            if limit is not None
        )
        return Hold(
            new_id(), self.payer.account_id, self.payer.key_id, MODEL_ID, self.payer.process_id, wanted, least, guards
        )

    def end_of(self, call: int, quote: int, percent: int = 0, is_stream: bool = False) -> Settle | Release:
        """A settlement; of a call that was settled before, the same one again; of one that gave its hold back, that."""
        hold = self.holds[call % len(self.holds)]
        if name(hold) not in self.model.holds and name(hold) not in self.model.receipts:
            return Release(hold.request_id, hold.account_id, None)
        quote, percent, is_stream = self.quotes.setdefault(name(hold), (quote, percent, is_stream))
        record = self.payer.record(hold)
        record.claim_trigger = "latency" if percent else ""
        return Settle(hold.request_id, hold.account_id, quote, record, payout_percent=percent, defers_payout=is_stream)

    def commit(self, operations: list[Operation], *, is_repeat: bool = False) -> None:
        outcomes = self.door.commit(operations, is_repeat=is_repeat)
        self.model.lapse()
        pairs = list(zip(operations, outcomes, strict=True))
        for operation, outcome in pairs:
            if not isinstance(operation, Hold):
                self.compare_end(operation, outcome)
        self.model.lapse()
        for operation, outcome in pairs:
            if isinstance(operation, Hold):
                self.compare_hold(operation, outcome)

    def compare_end(self, operation: Operation, outcome: Outcome) -> None:
        assert isinstance(operation, (Settle, Release, Expire))
        call = operation.request_id.hex
        if isinstance(operation, Settle):
            assert isinstance(outcome, Settled)
            told = (outcome.charge_micro, outcome.absorbed_micro, outcome.compensated_micro)
            assert told == self.model.settle(
                call,
                operation.charge_micro,
                percent=operation.payout_percent,
                is_stream=operation.defers_payout,
            )
        else:
            assert isinstance(outcome, Released)
            end = self.model.release if isinstance(operation, Release) else self.model.expire
            assert outcome.was_open is end(call)

    def compare_hold(self, asked: Hold, outcome: Outcome) -> None:
        told = self.model.hold(
            name(asked),
            wanted=asked.wanted_micro,
            least=asked.least_micro,
            limits={(guard.scope, guard.period): guard.limit_micro for guard in asked.guards},
            scopes=list(self.codes),
        )
        if isinstance(outcome, Granted):
            assert outcome.amount_micro == told
            if asked not in self.holds:
                self.holds.append(asked)
        elif isinstance(outcome, Waiting):
            assert told == "waiting"
        else:
            assert isinstance(outcome, HoldRefused)
            assert isinstance(told, str)
            scope, _, period = told.partition(" ")
            assert outcome.code == self.codes.get((scope, period), told)

    def open_windows(self) -> None:
        """Let all windows begin with the hour: what is counted from the log when one begins later, other tests show."""
        if self.model.is_frozen or (self.model.cap is not None and self.model.absorbed[self.model.day]):
            is_frozen, cap = self.model.is_frozen, self.model.cap
            set_account(account_id=self.payer.account_id, actor="tests", status="active", absorbed_cap=None)
            self.model.is_frozen, self.model.cap = False, None
            self.open_windows()
            status = "frozen" if is_frozen else "active"
            amount = None if cap is None else Credits(cap)
            set_account(account_id=self.payer.account_id, actor="tests", status=status, absorbed_cap=amount)
            self.model.is_frozen, self.model.cap = is_frozen, cap
            return
        nothing = self.new_hold(0, 0, [UNLIMITED] * 5)
        self.commit([nothing])
        self.commit([Release(nothing.request_id, nothing.account_id, None)])
        self.holds.remove(nothing)

    @transaction.atomic
    def let_pass(self, *, hours: int) -> None:
        """A server's clock cannot be set: everything that is on file is moved back. Hours pass within a day."""
        spell = hours * HOUR
        turned = ("hourly",) if hours < 24 else ("hourly", "daily")
        mine = {"account_id": self.payer.account_id}
        for row in UsageRecord.objects.filter(claim="due", **mine):
            self.due[row.request_id] = row
        UsageRecord.objects.filter(**mine).delete()
        Grant.objects.filter(**mine).update(expires_at=F("expires_at") - spell)
        for windows in (BudgetWindow.objects, ClosedWindow.objects):
            # One at a time, the oldest first: none may meet another on its way.
            for window in windows.filter(period__in=turned, **mine).order_by("starts_at"):
                windows.filter(id=window.id).update(starts_at=window.starts_at - spell)
        for hold in HoldRow.objects.filter(**mine):
            for counted in hold.windows:
                if counted["period"] in turned:
                    counted["starts_at"] = (datetime.fromisoformat(counted["starts_at"]) - spell).isoformat()
            HoldRow.objects.filter(request_id=hold.request_id).update(
                windows=hold.windows, created_at=hold.created_at - spell
            )


def name(hold: Hold) -> str:
    return hold.request_id.hex
