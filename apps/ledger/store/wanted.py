"""What a batch has to read before it can be decided: the same question for every store."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from apps.ledger.operations import Hold, Move, Operation, Settle, State, WindowKey

WantedWindow = tuple[uuid.UUID, str, str, datetime | None]
"""account, scope, period, start; None: the window that the store's clock is in."""


def wanted_windows(operations: Sequence[Operation]) -> set[WantedWindow]:
    """The windows that holds will be guarded by, and that the others' holds count in."""
    wanted: set[WantedWindow] = set()
    for operation in operations:
        if isinstance(operation, Hold):
            for guard in operation.guards:
                wanted.add((operation.account_id, guard.scope, guard.period, None))
        elif not isinstance(operation, Move):
            for window in operation.windows:
                wanted.add((operation.account_id, window.scope, window.period, window.starts_at))
    return wanted


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


def may_repeat(state: State, operations: Sequence[Operation]) -> bool:
    """A settlement without an open hold was perhaps made before, or its hold expired: look before charging."""
    return any(
        isinstance(operation, Settle)
        and ((known := state.holds.get(operation.request_id)) is None or not known.is_open)
        for operation in operations
    )
