"""The one truth about money: from what was read under the locks to what is written. Pure; the same for every store.

Amounts are microcredits. `available = balance - held`; no operation here ever makes it negative. What moves money of an
account that has no balance raises BadOperation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from apps.core.errors import LimitFacts
from apps.core.money import MAX_MICRO
from apps.ledger import grants
from apps.ledger.books import (
    ABSORBED,
    ABSORPTION,
    CHARGE,
    COMPENSATION,
    CUSTOMER,
    REVENUE,
    balance_of,
    enter,
    window_of,
)
from apps.ledger.compensation import compensate, insure
from apps.ledger.idempotency import KeptReply
from apps.ledger.moves import annul, move
from apps.ledger.operations import (
    NO_LIMIT,
    BalanceState,
    EntryState,
    Expire,
    Granted,
    HeldWindow,
    Hold,
    HoldRefused,
    HoldState,
    Move,
    NewHold,
    Operation,
    Outcome,
    Release,
    Released,
    Settle,
    Settled,
    State,
    Waiting,
    WindowState,
    Writes,
)
from apps.ledger.refusals import refusal, refusal_of_absorbed, refuse_stopped
from apps.ledger.repeats import answer_repeat, claim_key

LIFETIME: Final = "lifetime"
DAILY: Final = "daily"
HOURLY: Final = "hourly"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
GRANT_SHARE: Final = 4
"""A hold takes at most this fraction of what is usable beyond its least: many agents share one balance."""


def window_start(period: str, now: datetime) -> datetime:
    """When the window that `now` falls in began, in UTC."""
    now = now.astimezone(UTC)
    if period == HOURLY:
        return now.replace(minute=0, second=0, microsecond=0)
    if period == DAILY:
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    return EPOCH


def window_end(period: str, starts_at: datetime) -> datetime | None:
    """When the window turns; None for a lifetime."""
    if period == HOURLY:
        return starts_at + timedelta(hours=1)
    if period == DAILY:
        return starts_at + timedelta(days=1)
    return None


def scopes_of(asked: Hold) -> dict[str, tuple[str, ...]]:
    """The scopes that a call belongs to, with the periods that each may be limited in."""
    key = f"key:{asked.key_id}"
    return {"account": (DAILY,), key: (LIFETIME, DAILY, HOURLY), f"{key}:{asked.model_id}": (LIFETIME,)}


def decide(state: State, operations: Sequence[Operation]) -> tuple[list[Outcome], Writes]:
    """Decide a batch: one outcome per operation, in order. Whatever gives money back goes before what asks for it."""
    writes = Writes(windows=set(state.opened), recounted_holds=state.recounted)
    outcomes: list[Outcome | None] = [None] * len(operations)
    grants.lapse(state, writes)
    for index, operation in enumerate(operations):
        if not isinstance(operation, Hold):
            outcomes[index] = _decide_return(state, writes, operation)
    # What had expired and only those holds covered.
    grants.lapse(state, writes)
    for index, operation in enumerate(operations):
        if isinstance(operation, Hold):
            outcomes[index] = hold(state, writes, operation)
    return [outcome for outcome in outcomes if outcome is not None], writes


def _decide_return(state: State, writes: Writes, operation: Settle | Release | Expire | Move) -> Outcome:
    if isinstance(operation, Settle):
        return settle(state, writes, operation)
    if isinstance(operation, Move):
        if operation.kind == COMPENSATION:
            return compensate(state, writes, operation, today=_today(COMPENSATION, state.now))
        return move(state, writes, operation)
    return release(state, writes, operation)


def hold(state: State, writes: Writes, asked: Hold) -> Outcome:
    """Grant `min(wanted, usable, max(least, usable / 4))`, usable being the least of what is available and what each
    budget window leaves; or say why not even `least` fits. The hold counts in every window of its scopes that is on
    file, limited or not."""
    known = state.holds.get(asked.request_id)
    if known is not None and known.is_open:
        return Granted(known.amount_micro, known.windows, state.now)
    answer = refuse_stopped(state, asked) or answer_repeat(state, asked) or _refuse_absorbed(state, asked)
    if answer is not None:
        return answer
    balance = state.balances.get(asked.account_id)
    if balance is None:
        balance = BalanceState(0, 0, 0)
    windows = tuple(
        HeldWindow(guard.scope, guard.period, window_start(guard.period, state.now), guard.limit_micro)
        for guard in asked.guards
    ) + _unlimited_windows(state, asked)
    rooms = [window_of(state, asked.account_id, window) for window in windows]
    lapsing = grants.expired(state, asked.account_id)
    usable = max(0, balance.balance_micro - balance.held_micro - lapsing)
    for window, room in zip(windows, rooms, strict=True):
        usable = min(usable, window.limit_micro - room.spent_micro - room.held_micro)
    if asked.least_micro > usable:
        return _refuse_hold(asked, balance, windows, rooms, usable, lapsing=lapsing)
    granted = min(asked.wanted_micro, usable, max(asked.least_micro, usable // GRANT_SHARE))
    if granted:
        balance.held_micro += granted
        writes.balances.add(asked.account_id)
        for window, room in zip(windows, rooms, strict=True):
            room.held_micro += granted
            writes.windows.add((asked.account_id, window.scope, window.period, window.starts_at))
    writes.new_holds.append(
        NewHold(
            request_id=asked.request_id,
            account_id=asked.account_id,
            key_id=asked.key_id,
            model_id=asked.model_id,
            process_id=asked.process_id,
            amount_micro=granted,
            windows=windows,
            created_at=state.now,
        )
    )
    state.holds[asked.request_id] = HoldState(granted, True, windows)
    claim_key(state, writes, asked)
    return Granted(granted, windows, state.now)


def _unlimited_windows(state: State, asked: Hold) -> tuple[HeldWindow, ...]:
    """Windows on file that no guard names. They are complete all the same: a limit may be set again at any moment."""
    guarded = {(guard.scope, guard.period) for guard in asked.guards}
    return tuple(
        HeldWindow(scope, period, starts_at, NO_LIMIT)
        for scope, periods in scopes_of(asked).items()
        for period in periods
        if (scope, period) not in guarded
        for starts_at in (window_start(period, state.now),)
        if (asked.account_id, scope, period, starts_at) in state.windows
    )


def settle(state: State, writes: Writes, asked: Settle) -> Settled:
    """Charge `min(quote, hold + usable)` and absorb the rest; a hold that expired meanwhile is taken again here."""
    done = state.entries.get((asked.request_id, CHARGE))
    absorbed_before = state.entries.get((asked.request_id, ABSORBED))
    if done is not None or absorbed_before is not None:
        return _settled_before(done, absorbed_before, state.entries.get((asked.request_id, COMPENSATION)))
    balance = balance_of(state, asked.account_id)
    quote = min(asked.charge_micro, MAX_MICRO)
    known = state.holds.get(asked.request_id)
    # What is held is the call's, though the windows have been filled over its limit since: the limit was raised.
    own_micro = known.amount_micro if known is not None and known.is_open else 0
    windows = _end_hold(state, writes, asked)
    usable = grants.free(state, asked.account_id)
    for window in windows:
        room = window_of(state, asked.account_id, window)
        usable = min(usable, window.limit_micro - room.spent_micro - room.held_micro)
    charge = min(quote, max(own_micro, usable))
    absorbed = quote - charge
    asked.record.charge_micro, asked.record.absorbed_micro = charge, absorbed
    writes.records.append(asked.record)
    if asked.reply is not None:
        writes.kept_replies.append(KeptReply(asked.account_id, asked.request_id, asked.reply))
    before = balance.balance_micro
    if charge:
        granted_micro = grants.spend(state, writes, asked.account_id, charge)
        enter(
            state,
            writes,
            asked.account_id,
            asked.request_id,
            CHARGE,
            CUSTOMER,
            REVENUE,
            charge,
            granted_micro=granted_micro,
        )
        for window in windows:
            room = window_of(state, asked.account_id, window)
            # Beyond that no limit can be: what is counted stays countable.
            room.spent_micro = min(MAX_MICRO, room.spent_micro + charge)
            writes.windows.add((asked.account_id, window.scope, window.period, window.starts_at))
    if absorbed:
        enter(
            state,
            writes,
            asked.account_id,
            asked.request_id,
            ABSORBED,
            ABSORPTION,
            REVENUE,
            absorbed,
            reason="the call cost more than its hold and what else was usable",
        )
        today = _today(ABSORBED, state.now)
        room = window_of(state, asked.account_id, today)
        room.spent_micro = min(MAX_MICRO, room.spent_micro + absorbed)
        writes.windows.add((asked.account_id, today.scope, today.period, today.starts_at))
    after, compensated = balance.balance_micro, 0
    if asked.payout_percent:
        compensated = insure(state, writes, asked, charge, today=_today(COMPENSATION, state.now))
    return Settled(charge, before, after, absorbed, compensated_micro=compensated)


def _today(scope: str, now: datetime) -> HeldWindow:
    """What the house pays for an account is counted by the day in which it pays, not that of the hold."""
    return HeldWindow(scope, DAILY, window_start(DAILY, now), NO_LIMIT)


def _refuse_absorbed(state: State, asked: Hold) -> HoldRefused | None:
    """Stop an account for the day once the house has paid as much for it as it will."""
    today = _today(ABSORBED, state.now)
    paid = state.windows.get((asked.account_id, today.scope, today.period, today.starts_at))
    cap_micro = state.keys[asked.key_id].absorbed_cap_micro
    if paid is None or cap_micro is None or not paid.spent_micro or paid.spent_micro < cap_micro:
        return None
    return refusal_of_absorbed(cap_micro, paid.spent_micro, window_end(DAILY, today.starts_at))


def _settled_before(charge: EntryState | None, absorbed: EntryState | None, compensation: EntryState | None) -> Settled:
    first = charge or absorbed
    assert first is not None
    return Settled(
        charge.amount_micro if charge else 0,
        first.balance_before_micro,
        first.balance_after_micro,
        absorbed.amount_micro if absorbed else 0,
        is_repeated=True,
        compensated_micro=compensation.amount_micro if compensation else 0,
    )


def release(state: State, writes: Writes, asked: Release | Expire) -> Released:
    """Give a hold back. Doing it twice changes nothing."""
    known = state.holds.get(asked.request_id)
    was_open = known is not None and known.is_open
    _end_hold(state, writes, asked)
    if isinstance(asked, Release):
        if asked.annuls:
            annul(state, writes, asked)
        if asked.record is not None:
            writes.records.append(asked.record)
    return Released(was_open)


def _end_hold(state: State, writes: Writes, asked: Settle | Release | Expire) -> tuple[HeldWindow, ...]:
    """Take a hold off its account and windows; return the windows it counted in, also where it had expired."""
    known = state.holds.get(asked.request_id)
    if known is None:
        return asked.windows
    if known.is_open:
        if known.amount_micro:
            balance_of(state, asked.account_id).held_micro -= known.amount_micro
            writes.balances.add(asked.account_id)
            for window in known.windows:
                window_of(state, asked.account_id, window).held_micro -= known.amount_micro
                writes.windows.add((asked.account_id, window.scope, window.period, window.starts_at))
        if isinstance(asked, Expire):
            writes.expired_holds.append(asked.request_id)
        else:
            writes.ended_holds.append(asked.request_id)
        state.holds[asked.request_id] = HoldState(known.amount_micro, False, known.windows)
    return known.windows


def _refuse_hold(
    asked: Hold,
    balance: BalanceState,
    windows: Sequence[HeldWindow],
    rooms: Sequence[WindowState],
    usable: int,
    *,
    lapsing: int,
) -> HoldRefused | Waiting:
    """Say which limit is in the way: one that is spent refuses for good, one that is only held is worth waiting for.
    `lapsing` is held now and gone when it is not."""
    available = max(0, usable)
    if asked.least_micro > balance.balance_micro - lapsing:
        return refusal("insufficient_credits", asked, balance.balance_micro, balance.held_micro, None, available)
    for guard, window, room in zip(asked.guards, windows, rooms, strict=False):
        if asked.least_micro > window.limit_micro - room.spent_micro:
            turns_at = window_end(window.period, window.starts_at)
            return refusal(guard.code, asked, window.limit_micro, room.spent_micro, turns_at, available)
    facts = LimitFacts(
        "credits_reserved",
        balance.balance_micro,
        balance.held_micro,
        is_money=True,
        needed=asked.least_micro,
        available=available,
    )
    message = "Other calls of this account hold the credits that this one needs. Try again when they have ended."
    return Waiting(HoldRefused("credits_reserved", message, facts=facts))
