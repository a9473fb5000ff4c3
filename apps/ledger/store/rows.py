"""Rows as PostgreSQL's statements take and give them: JSON on both ways."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from apps.core.ids import new_id
from apps.ledger.operations import (
    BalanceState,
    EntryState,
    GrantState,
    HeldWindow,
    HoldState,
    KeyState,
    RefundState,
    State,
    WindowState,
)
from apps.ledger.store.wanted import open_window

encode = msgspec.json.Encoder().encode

Collector = Callable[[bytes | None, State], None]
"""Adds a statement's answer to the state."""


class Locked(msgspec.Struct):
    now: datetime
    balances: list[tuple[uuid.UUID, int, int, int, int, datetime | None]]
    busy: frozenset[uuid.UUID] = frozenset()


decode_locked = msgspec.json.Decoder(Locked).decode
decode_holds = msgspec.json.Decoder(list[tuple[uuid.UUID, int, bool, tuple[HeldWindow, ...]]]).decode
decode_windows = msgspec.json.Decoder(list[tuple[uuid.UUID, str, str, datetime, int, int]]).decode
decode_keys = msgspec.json.Decoder(list[tuple[uuid.UUID, bool, bool, datetime | None, int | None]]).decode
decode_entries = msgspec.json.Decoder(list[tuple[uuid.UUID, str, uuid.UUID, int, int, int, int]]).decode
decode_grants = msgspec.json.Decoder(list[tuple[uuid.UUID, uuid.UUID, int, int, int, datetime | None, datetime]]).decode
decode_caps = msgspec.json.Decoder(dict[uuid.UUID, int | None]).decode
decode_refunds = msgspec.json.Decoder(list[tuple[uuid.UUID, int, int]]).decode
decode_counts = msgspec.json.Decoder(
    list[tuple[uuid.UUID, str, str, datetime, int, list[tuple[uuid.UUID, int, bool, tuple[HeldWindow, ...]]]]]
).decode


def state_of(locked: Locked) -> State:
    balances = {
        account_id: BalanceState(balance_micro, held_micro, seq, owed_micro, moved_at)
        for account_id, balance_micro, held_micro, seq, owed_micro, moved_at in locked.balances
    }
    return State(now=locked.now, balances=balances)


def collect_holds(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for request_id, amount_micro, is_open, windows in decode_holds(answer):
            state.holds[request_id] = HoldState(amount_micro, is_open, windows)


def collect_keys(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for row in decode_keys(answer):
            state.keys[row[0]] = KeyState(*row[1:])


def collect_windows(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for account_id, scope, period, starts_at, spent_micro, held_micro in decode_windows(answer):
            state.windows[account_id, scope, period, starts_at] = WindowState(spent_micro, held_micro)


def collect_counts(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for account_id, scope, period, starts_at, spent_micro, holds in decode_counts(answer):
            open_window(
                state,
                (account_id, scope, period, starts_at),
                spent_micro=spent_micro,
                holds={
                    request_id: HoldState(amount_micro, is_open, windows)
                    for request_id, amount_micro, is_open, windows in holds
                },
            )


def collect_entries(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for row in decode_entries(answer):
            state.entries[row[0], row[1]] = EntryState(*row[2:])


def collect_grants(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for columns in decode_grants(answer):
            grant = GrantState(*columns)
            state.grants.setdefault(grant.account_id, []).append(grant)


def collect_refunds(answer: bytes | None, state: State) -> None:
    if answer is not None:
        for request_id, amount_micro, granted_micro in decode_refunds(answer):
            state.refunds[request_id] = RefundState(amount_micro, granted_micro)


def collect_insurance_caps(answer: bytes | None, state: State) -> None:
    if answer is not None:
        state.insurance_caps.update(decode_caps(answer))


def array(ids: Iterable[uuid.UUID]) -> str:
    """A uuid[] as SQL writes it."""
    return "{" + ",".join(map(str, ids)) + "}"


def balance_row(account_id: uuid.UUID, state: State) -> dict[str, object]:
    balance = state.balances[account_id]
    return {
        "account_id": account_id,
        "balance_micro": balance.balance_micro,
        "held_micro": balance.held_micro,
        "seq": balance.seq,
        "owed_micro": balance.owed_micro,
        "moved_at": balance.moved_at,
    }


def window_row(key: tuple[uuid.UUID, str, str, datetime], state: State) -> dict[str, object]:
    account_id, scope, period, starts_at = key
    window = state.windows[key]
    return {
        "id": new_id(),
        "account_id": account_id,
        "scope": scope,
        "period": period,
        "starts_at": starts_at,
        "spent_micro": window.spent_micro,
        "held_micro": window.held_micro,
    }
