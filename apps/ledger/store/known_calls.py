"""Idempotency keys in the stores: which are wanted, how PostgreSQL tells of them, how SQLite does."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from apps.core.ids import new_id
from apps.core.tokens import TokenUsage
from apps.ledger.idempotency import KEPT_S, KnownCall, KnownKey, PastCall
from apps.ledger.operations import Hold, Operation, State, Writes

READ_KNOWN_CALL: Final = (
    "SELECT known.body_digest, known.request_id, known.reply, hold.request_id IS NOT NULL,"
    " record.status IN ('succeeded', 'abandoned') AND NOT EXISTS (SELECT 1 FROM ledger_entry e WHERE"
    " e.account_id = known.account_id AND e.operation_id = known.request_id AND e.kind = 'correction'),"
    " charge.balance_before_micro, charge.balance_after_micro,"
    " record.model_id, record.is_stream, record.received_at, record.is_estimated, record.charge_micro,"
    " record.absorbed_micro, record.input_tokens, record.cache_read_tokens, record.cache_write_5m_tokens,"
    " record.cache_write_1h_tokens, record.output_tokens, record.reasoning_tokens, record.image_input_tokens,"
    " record.image_output_tokens, record.server_tool_requests, record.latency_ms, record.threshold_ms, record.claim,"
    " record.claim_trigger, record.compensated_micro"
    " FROM ledger_idempotencykey known"
    " LEFT JOIN ledger_hold hold ON hold.request_id = known.request_id AND hold.state = 'open'"
    " LEFT JOIN usage_usagerecord record ON record.request_id = known.request_id"
    " LEFT JOIN ledger_entry charge ON charge.account_id = known.account_id"
    " AND charge.operation_id = known.request_id AND charge.kind = 'charge'"
    " WHERE known.account_id = ? AND known.key_digest = ? AND known.claimed_at > ?"
)
CLAIM_KEY: Final = (
    "INSERT INTO ledger_idempotencykey (id, account_id, key_digest, body_digest, request_id, claimed_at)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account_id, key_digest) DO UPDATE SET body_digest = excluded.body_digest,"
    " request_id = excluded.request_id, claimed_at = excluded.claimed_at, reply = NULL"
)
KEEP_REPLY: Final = "UPDATE ledger_idempotencykey SET reply = ? WHERE account_id = ? AND request_id = ?"


class _Record(msgspec.Struct):
    """As much of a usage record as a repeat is told of."""

    request_id: uuid.UUID
    model_id: str
    is_stream: bool
    received_at: datetime
    is_estimated: bool
    charge_micro: int
    absorbed_micro: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int
    image_input_tokens: int
    image_output_tokens: int
    server_tool_requests: int
    latency_ms: int
    threshold_ms: int | None
    claim: str
    claim_trigger: str
    compensated_micro: int


class _Past(msgspec.Struct):
    record: _Record
    balances_micro: tuple[int, int] | None
    reply: bytes | None


_decode: Final = msgspec.json.Decoder(list[tuple[uuid.UUID, str, str, uuid.UUID, bool, _Past | None]]).decode


def wanted_keys(operations: Sequence[Operation]) -> set[KnownKey]:
    """The keys that holds of a batch name; hardly ever any."""
    return {
        (operation.account_id, operation.idempotency.key)
        for operation in operations
        if isinstance(operation, Hold) and operation.idempotency is not None
    }


def collect_known_calls(answer: bytes | None, state: State) -> None:
    """Add what PostgreSQL tells."""
    if answer is None:
        return
    for account_id, key, body, request_id, is_running, past in _decode(answer):
        state.known_calls[account_id, key] = KnownCall(
            request_id, body, is_running, None if past is None else _past_call(past)
        )


def claim_rows(writes: Writes) -> list[dict[str, object]]:
    return [
        {
            "id": new_id(),
            "account_id": claim.account_id,
            "key_digest": claim.key_digest,
            "body_digest": claim.body_digest,
            "request_id": claim.request_id,
        }
        for claim in writes.claims
    ]


def read_known_calls(connection: sqlite3.Connection, operations: Sequence[Operation], state: State) -> None:
    """Add what SQLite tells."""
    since = str((state.now - timedelta(seconds=KEPT_S)).astimezone(UTC).replace(tzinfo=None))
    for account_id, key in wanted_keys(operations):
        row = connection.execute(READ_KNOWN_CALL, (account_id.hex, key, since)).fetchone()
        if row is None:
            continue
        body, request_id, reply, is_running, is_past, before, after, model_id, is_stream, received_at, *figures = row
        known = KnownCall(uuid.UUID(request_id), body, bool(is_running))
        if is_past:
            is_estimated, *counts = figures
            record = _Record(
                known.request_id,
                model_id,
                bool(is_stream),
                datetime.fromisoformat(received_at).replace(tzinfo=UTC),
                bool(is_estimated),
                *counts,
            )
            balances = None if before is None else (before, after)
            known = replace(known, past=_past_call(_Past(record, balances, None if reply is None else bytes(reply))))
        state.known_calls[account_id, key] = known


def write_known_calls(connection: sqlite3.Connection, state: State, writes: Writes) -> None:
    at = str(state.now.astimezone(UTC).replace(tzinfo=None))
    connection.executemany(
        CLAIM_KEY,
        [
            (new_id().hex, claim.account_id.hex, claim.key_digest, claim.body_digest, claim.request_id.hex, at)
            for claim in writes.claims
        ],
    )
    connection.executemany(
        KEEP_REPLY, [(kept.reply, kept.account_id.hex, kept.request_id.hex) for kept in writes.kept_replies]
    )


def _past_call(past: _Past) -> PastCall:
    record = past.record
    return PastCall(
        request_id=record.request_id,
        model_id=record.model_id,
        is_stream=record.is_stream,
        received_at=record.received_at,
        usage=TokenUsage(
            input=record.input_tokens,
            cache_read=record.cache_read_tokens,
            cache_write_5m=record.cache_write_5m_tokens,
            cache_write_1h=record.cache_write_1h_tokens,
            output=record.output_tokens,
            reasoning=record.reasoning_tokens,
            image_input=record.image_input_tokens,
            image_output=record.image_output_tokens,
            server_tool_requests=record.server_tool_requests,
        ),
        is_estimated=record.is_estimated,
        charge_micro=record.charge_micro,
        absorbed_micro=record.absorbed_micro,
        balances_micro=past.balances_micro,
        reply=past.reply,
        latency_ms=record.latency_ms,
        threshold_ms=record.threshold_ms,
        claim=record.claim,
        claim_trigger=record.claim_trigger,
        compensated_micro=record.compensated_micro,
    )
