"""Reads of the usage log."""

from __future__ import annotations

import uuid

from apps.core.errors import rfc3339
from apps.core.ids import show_request_id
from apps.core.money import json_number
from apps.usage.models import UsageRecord


def newest_records(account_id: uuid.UUID, *, last: int) -> list[UsageRecord]:
    """An account's newest records, newest first: a request id begins with its time."""
    return list(UsageRecord.objects.filter(account_id=account_id).order_by("-request_id")[:last])


def record_facts(record: UsageRecord) -> dict[str, object]:
    """A record as `usage --json` prints it; amounts are credits."""
    return {
        "request_id": show_request_id(record.request_id),
        "model": record.model_id,
        "endpoint": record.endpoint,
        "status": record.status,
        "stream": record.is_stream,
        "usage": {
            "input": record.input_tokens,
            "cache_read": record.cache_read_tokens,
            "cache_write_5m": record.cache_write_5m_tokens,
            "cache_write_1h": record.cache_write_1h_tokens,
            "output": record.output_tokens,
            "reasoning": record.reasoning_tokens,
        },
        "credits_charged": json_number(record.charge_micro),
        "credits_compensated": json_number(record.compensated_micro),
        "insurance": _insurance(record),
        "absorbed": json_number(record.absorbed_micro),
        "estimated": record.is_estimated,
        "latency_ms": record.latency_ms,
        "session_id": record.session_id or None,
        "key_id": str(record.key_id),
        "http_status": record.http_status,
        "error_code": record.error_code or None,
        "route": None if record.route_id is None else str(record.route_id),
        "provider": record.provider or None,
        "adapted": record.adapted or None,
        "received_at": rfc3339(record.received_at),
        "first_byte_ms": record.first_byte_ms,
        "queue_ms": record.queue_ms,
    }


def _insurance(record: UsageRecord) -> dict[str, object] | None:
    """What became of the call's insurance; None where it is not insured."""
    if not record.claim:
        return None
    return {
        "status": record.claim,
        "trigger": record.claim_trigger or None,
        "threshold_ms": record.threshold_ms,
        "credits_due": json_number(record.due_micro),
        "policy_version": None if record.insurance_version_id is None else str(record.insurance_version_id),
    }
