"""The ledger as plain arithmetic over lists: what a store and its rules must come to, told a second time and simply.

Written from the README's policy, not from the rules: no code of `apps/ledger` is used. Amounts are microcredits. Time
is a number of hours; a day is 24 of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

UNLIMITED = 10**18

Scope = tuple[str, str]
"""scope, period"""


@dataclass
class Given:
    """Credits that nobody paid for."""

    amount: int
    left: int
    priority: int
    ends: int | None
    """The hour from which it is of no use."""
    order: int

    @property
    def rank(self) -> tuple[int, int, int]:
        return (self.priority, UNLIMITED if self.ends is None else self.ends, self.order)


@dataclass
class Held:
    amount: int
    windows: dict[tuple[str, str, int], int]
    """scope, period and number of each window that it counts in -> the limit it was taken under."""
    is_open: bool = True


@dataclass
class Charged:
    amount: int
    granted: int
    back: int = 0
    back_granted: int = 0


@dataclass
class Account:
    """One account and its one key. Each method is one operation, and returns what its caller is told."""

    hour: int = 0
    day: int = 0
    balance: int = 0
    owed: int = 0
    cap: int | None = UNLIMITED
    insurance_cap: int | None = UNLIMITED
    is_frozen: bool = False
    given: list[Given] = field(default_factory=list)
    holds: dict[str, Held] = field(default_factory=dict)
    spent: dict[tuple[str, str, int], int] = field(default_factory=lambda: defaultdict(int))
    absorbed: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    insured: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Day -> what insurance paid in it."""
    charges: dict[str, Charged] = field(default_factory=dict)
    receipts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Call -> what was charged, absorbed and compensated, where that was anything."""
    due: dict[str, int] = field(default_factory=dict)
    """Call -> what insurance owes for it."""
    entries: list[tuple[str, int, int]] = field(default_factory=list)
    """kind, amount, and what of it nobody paid for."""

    # What there is.

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.is_open)

    @property
    def lapsing(self) -> int:
        return sum(given.left for given in self.given if given.ends is not None and given.ends <= self.hour)

    @property
    def free(self) -> int:
        return max(0, self.balance - self.held - self.lapsing)

    def held_in(self, window: tuple[str, str, int]) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.is_open and window in hold.windows)

    def number(self, period: str) -> int:
        return {"hourly": self.hour, "daily": self.day, "lifetime": 0}[period]

    # Money that people move.

    def top_up(self, amount: int) -> None:
        self._enter("top_up", amount, to_customer=True)
        self._repay(amount)

    def grant(self, amount: int, *, priority: int, lasts: int | None) -> None:
        self._enter("grant", amount, granted=amount, to_customer=True)
        self._give(amount, priority=priority, ends=None if lasts is None else self.hour + lasts)

    def correct(self, amount: int) -> bool:
        """Whether it could be made."""
        if amount > 0:
            self._enter("correction", amount, to_customer=True)
            self._repay(amount)
            return True
        if -amount > self.free:
            return False
        self._enter("correction", -amount, granted=self._take_back(-amount), to_customer=False)
        return True

    def claw_back(self, amount: int) -> tuple[int, int]:
        """What was taken, what is owed."""
        taken = min(amount, self.free)
        owed = amount - taken
        if taken:
            self._enter("claw_back", taken, granted=self._take_back(taken), to_customer=False)
        if owed:
            self.owed += owed
            self.entries.append(("owed", owed, 0))
            self.is_frozen = True
        return taken, owed

    def refundable(self, call: str) -> int:
        charge = self.charges.get(call)
        return 0 if charge is None else charge.amount - charge.back

    def refund(self, call: str, amount: int) -> bool:
        """Whether it could be made."""
        if amount > self.refundable(call):
            return False
        charge = self.charges[call]
        paid_left = charge.amount - charge.granted - (charge.back - charge.back_granted)
        granted = amount - min(amount, paid_left)
        charge.back += amount
        charge.back_granted += granted
        self._enter("refund", amount, granted=granted, to_customer=True)
        if granted:
            self._give(granted, priority=0, ends=None)
        self._repay(amount - granted)
        return True

    # Calls.

    def hold(self, call: str, *, wanted: int, least: int, limits: dict[Scope, int], scopes: list[Scope]) -> int | str:
        """What is granted, or why nothing is: `waiting`, where only open holds stand in the way."""
        known = self.holds.get(call)
        if known is not None and known.is_open:
            return known.amount
        if self.is_frozen:
            return "account_frozen"
        absorbed = self.absorbed[self.day]
        if self.cap is not None and absorbed and absorbed >= self.cap:
            return "account_budget_exhausted"
        windows = {
            (scope, period, self.number(period)): limits.get((scope, period), UNLIMITED) for scope, period in scopes
        }
        usable = min(
            [self.free] + [limit - self.spent[window] - self.held_in(window) for window, limit in windows.items()]
        )
        if least > usable:
            if least > self.balance - self.lapsing:
                return "insufficient_credits"
            for (scope, period), limit in limits.items():
                if least > limit - self.spent[scope, period, self.number(period)]:
                    return f"{scope} {period}"
            return "waiting"
        amount = min(wanted, max(least, usable // 4), usable)
        self.holds[call] = Held(amount, windows)
        return amount

    def settle(self, call: str, quote: int, *, percent: int = 0, is_stream: bool = False) -> tuple[int, int, int]:
        """What is charged, what the house pays, and what insurance pays; the same again, where it was told before."""
        if call in self.receipts:
            return self.receipts[call]
        hold = self.holds.get(call)
        own = hold.amount if hold is not None and hold.is_open else 0
        self._end(call, leaves_tombstone=False)
        windows = {} if hold is None else hold.windows
        room = [limit - self.spent[window] - self.held_in(window) for window, limit in windows.items()]
        charge = min(quote, max(own, min([self.free, *room])))
        if charge:
            granted = self._use(charge)
            self._enter("charge", charge, granted=granted, to_customer=False)
            self.charges[call] = Charged(charge, granted)
            for window in windows:
                self.spent[window] += charge
        if quote > charge:
            self.entries.append(("absorbed", quote - charge, 0))
            self.absorbed[self.day] += quote - charge
        due, paid = charge * percent // 100, 0
        if due and is_stream:
            self.due[call] = due
        elif due:
            paid = self._compensate(due)
        if quote:
            self.receipts[call] = (charge, quote - charge, paid)
        return charge, quote - charge, paid

    def pay_due(self, call: str) -> int:
        """What insurance pays for a stream, after its settlement."""
        paid = self._compensate(self.due.pop(call))
        charge, absorbed, _ = self.receipts[call]
        self.receipts[call] = (charge, absorbed, paid)
        return paid

    def release(self, call: str) -> bool:
        """Whether it was open."""
        return self._end(call, leaves_tombstone=False)

    def expire(self, call: str) -> bool:
        return self._end(call, leaves_tombstone=True)

    # Time.

    def lapse(self) -> None:
        """What has expired goes, as far as no open hold covers it. Every batch begins with it."""
        for given in sorted(self.given, key=lambda given: given.rank):
            if given.ends is not None and given.ends <= self.hour:
                part = min(given.left, self.balance - self.held)
                if part:
                    given.left -= part
                    self._enter("expiry", part, granted=part, to_customer=False)

    # How.

    def _compensate(self, due: int) -> int:
        left = due if self.insurance_cap is None else max(0, self.insurance_cap - self.insured[self.day])
        paid = min(due, left)
        if paid:
            self._enter("compensation", paid, to_customer=True)
            self.insured[self.day] += paid
        return paid

    def _enter(self, kind: str, amount: int, *, to_customer: bool, granted: int = 0) -> None:
        self.balance += amount if to_customer else -amount
        self.entries.append((kind, amount, granted))

    def _give(self, amount: int, *, priority: int, ends: int | None) -> None:
        self.given.append(Given(amount, amount, priority, ends, len(self.given)))

    def _repay(self, paid: int) -> None:
        part = min(paid, self.owed)
        if part:
            self.owed -= part
            self._enter("repayment", part, to_customer=False)

    def _use(self, amount: int) -> int:
        """Granted credits first; return how many."""
        used = 0
        for given in sorted(self.given, key=lambda given: given.rank):
            part = min(given.left, amount - used)
            given.left -= part
            used += part
        return used

    def _take_back(self, amount: int) -> int:
        """Paid credits first; return how many others."""
        paid = self.balance - sum(given.left for given in self.given)
        return self._use(max(0, amount - paid))

    def _end(self, call: str, *, leaves_tombstone: bool) -> bool:
        hold = self.holds.get(call)
        if hold is None or not hold.is_open:
            return False
        hold.is_open = False
        if not leaves_tombstone:
            # Gone: a settlement that still comes finds nothing of it, but for what it was told itself.
            del self.holds[call]
        return True
