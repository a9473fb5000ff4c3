"""What a batch has to read before it can be decided, and how a window is opened: the same for every store."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from apps.core.ids import time_bound
from apps.ledger.books import ABSORBED, COMPENSATION
from apps.ledger.operations import (
    NO_LIMIT,
    HeldWindow,
    Hold,
    HoldState,
    Move,
    Operation,
    Release,
    Settle,
    State,
    WindowKey,
    WindowState,
)
from apps.ledger.rules import DAILY, scopes_of, window_start

WantedWindow = tuple[uuid.UUID, str, str, datetime | None]
"""account, scope, period, start; None: the window that the store's clock is in."""

CLOCKS_APART_MS: Final = 86_400_000
"""A key's id, made by one machine, and the ids of its first calls, made by another, may disagree by less than this."""


@dataclass(frozen=True, slots=True)
class MissingWindow:
    """A limited window that is not on file, and what counts in it: records of `key_id` and `model_id` (None: of any)
    from request `since` on, and holds taken since it began."""

    account_id: uuid.UUID
    scope: str
    period: str
    starts_at: datetime
    key_id: uuid.UUID | None
    model_id: str | None
    since: uuid.UUID


def insured_accounts(operations: Sequence[Operation]) -> set[uuid.UUID]:
    """The accounts that insurance pays something in this batch; hardly ever any."""
    return {
        operation.account_id
        for operation in operations
        if (isinstance(operation, Settle) and operation.payout_percent and not operation.defers_payout)
        or (isinstance(operation, Move) and operation.kind == COMPENSATION)
    }


def wanted_windows(operations: Sequence[Operation]) -> set[WantedWindow]:
    """The windows that holds will be guarded by or count in all the same, that the others' holds count in, and what the
    house paid for the account today."""
    wanted: set[WantedWindow] = {(account_id, COMPENSATION, DAILY, None) for account_id in insured_accounts(operations)}
    for operation in operations:
        if isinstance(operation, (Hold, Settle)):
            wanted.add((operation.account_id, ABSORBED, DAILY, None))
        if isinstance(operation, Hold):
            for guard in operation.guards:
                wanted.add((operation.account_id, guard.scope, guard.period, None))
            for scope, periods in scopes_of(operation).items():
                wanted.update((operation.account_id, scope, period, None) for period in periods)
        elif not isinstance(operation, Move):
            for window in operation.windows:
                wanted.add((operation.account_id, window.scope, window.period, window.starts_at))
    return wanted


def missing_windows(state: State, operations: Sequence[Operation]) -> list[MissingWindow]:
    """The windows of guards that are not on file: a limit was set just now, or an hour or a day began. What was spent
    in them must be counted once, before they are opened."""
    missing: dict[WindowKey, MissingWindow] = {}
    for operation in operations:
        if not isinstance(operation, Hold) or operation.account_id not in state.balances:
            continue
        scopes = scopes_of(operation)
        for guard in operation.guards:
            starts_at = window_start(guard.period, state.now)
            window = (operation.account_id, guard.scope, guard.period, starts_at)
            if window in state.windows or guard.scope not in scopes:
                continue
            of_account, of_key, _ = scopes
            key_id = None if guard.scope == of_account else operation.key_id
            model_id = None if guard.scope in (of_account, of_key) else operation.model_id
            missing[window] = MissingWindow(*window, key_id, model_id, _first_request(starts_at, key_id))
    return list(missing.values())


def open_window(state: State, key: WindowKey, *, spent_micro: int, holds: Mapping[uuid.UUID, HoldState]) -> None:
    """Begin to count in a window that is not on file, with what was spent in it before and what calls hold by now.

    `holds`: those of its scope that were taken since it began, expired ones too. They count in it from now on, under
    no limit: when they were taken there was none.
    """
    _, scope, period, starts_at = key
    held_micro = 0
    for request_id, known in holds.items():
        held_micro += known.amount_micro * known.is_open
        windows = state.recounted.get(request_id, known.windows)
        if any((window.scope, window.period, window.starts_at) == key[1:] for window in windows):
            continue
        windows = (*windows, HeldWindow(scope, period, starts_at, NO_LIMIT))
        state.recounted[request_id] = windows
        if request_id in state.holds:
            state.holds[request_id] = HoldState(known.amount_micro, known.is_open, windows)
    state.windows[key] = WindowState(spent_micro, held_micro)
    state.opened.add(key)


def _first_request(starts_at: datetime, key_id: uuid.UUID | None) -> uuid.UUID:
    """The smallest id that a request of this window can have. A key has no calls before it was made: a lifetime is
    read from there, so that the first call of a new key reads nothing."""
    first_ms = int(starts_at.timestamp() * 1_000)
    if key_id is not None and key_id.version == 7:
        first_ms = max(first_ms, (key_id.int >> 80) - CLOCKS_APART_MS)
    return time_bound(first_ms)


def forgotten_windows(state: State, operations: Sequence[Operation]) -> set[WindowKey]:
    """Windows that a hold on file counts in but its operation did not name. They must be read before they are
    written: windows are written whole."""
    forgotten: set[WindowKey] = set()
    for operation in operations:
        if isinstance(operation, Move):
            continue
        known = state.holds.get(operation.request_id)
        if known is None or isinstance(operation, Hold) or known.windows == operation.windows:
            continue
        for window in known.windows:
            forgotten.add((operation.account_id, window.scope, window.period, window.starts_at))
    return forgotten


def unfiled_windows(state: State, operations: Sequence[Operation]) -> set[WindowKey]:
    """Windows of holds that end now and are not on file any more: they were closed, and are counted in all the same.
    And today's of insurance, which is closed already where the batch began before midnight."""
    unfiled: set[WindowKey] = {
        key
        for account_id in insured_accounts(operations)
        if (key := (account_id, COMPENSATION, DAILY, window_start(DAILY, state.now))) not in state.windows
    }
    for operation in operations:
        if isinstance(operation, (Move, Hold)):
            continue
        known = state.holds.get(operation.request_id)
        for window in operation.windows if known is None else known.windows:
            key = (operation.account_id, window.scope, window.period, window.starts_at)
            if key not in state.windows:
                unfiled.add(key)
    return unfiled


def may_repeat(state: State, operations: Sequence[Operation]) -> bool:
    """A settlement without an open hold was perhaps made before, or its hold expired: look before charging."""
    return any(
        (isinstance(operation, Release) and operation.annuls)
        or (
            isinstance(operation, Settle)
            and ((known := state.holds.get(operation.request_id)) is None or not known.is_open)
        )
        for operation in operations
    )


def possible_entries(operations: Sequence[Operation]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """`(account, operation)` of whatever may have moved money before, and of what it refers to."""
    pairs = []
    for operation in operations:
        if isinstance(operation, Move):
            pairs.append((operation.account_id, operation.operation_id))
            if operation.subject_id is not None:
                pairs.append((operation.account_id, operation.subject_id))
        elif isinstance(operation, Settle) or (isinstance(operation, Release) and operation.annuls):
            pairs.append((operation.account_id, operation.request_id))
    return pairs


def refunded_requests(operations: Sequence[Operation]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """`(account, request)` of what is to be given back."""
    pairs = []
    for operation in operations:
        if isinstance(operation, Move) and operation.subject_id is not None:
            pairs.append((operation.account_id, operation.subject_id))
        elif isinstance(operation, Release) and operation.annuls:
            pairs.append((operation.account_id, operation.request_id))
    return pairs
