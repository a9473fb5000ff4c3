"""The usage log as scripts read it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Account
from apps.accounts.services import create_account
from apps.core.ids import new_id, show_request_id
from apps.usage.models import UsageRecord
from apps.usage.selectors import newest_records

pytestmark = pytest.mark.django_db

KEY_ID = uuid.UUID("01a2051d-2c46-763c-9c89-9e9ec723fb21")


@pytest.fixture
def alice() -> Account:
    return create_account(name="alice", actor="root")


def write(account: Account, **fields: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": new_id(),
        "account_id": account.id,
        "key_id": KEY_ID,
        "model_id": "claude-sonnet-4-7",
        "endpoint": "messages",
        "status": "succeeded",
        "is_stream": True,
        "http_status": 200,
        "latency_ms": 1_234,
        "received_at": datetime(2026, 11, 22, 15, 0, 0, tzinfo=UTC),
    }
    return UsageRecord.objects.create(**{**values, **fields})


def usage(*arguments: str) -> Any:
    output = StringIO()
    call_command("usage", *arguments, "--json", stdout=output)
    return json.loads(output.getvalue(), parse_float=str)["records"]


def test_a_record_has_every_figure_under_its_promised_name(alice: Account) -> None:
    record = write(
        alice,
        input_tokens=1_200,
        cache_read_tokens=10,
        cache_write_5m_tokens=20,
        cache_write_1h_tokens=30,
        output_tokens=300,
        reasoning_tokens=100,
        charge_micro=12_500_001,
        due_micro=3_125_000,
        compensated_micro=3_000_000,
        claim="capped",
        claim_trigger="latency",
        threshold_ms=1_000,
        insurance_version_id=KEY_ID,
        session_id="s-1",
        provider="anthropic",
        route_id=KEY_ID,
        first_byte_ms=80,
        queue_ms=5,
        adapted="temperature: 1.4 -> 1",
    )
    assert usage("alice") == [
        {
            "request_id": show_request_id(record.request_id),
            "model": "claude-sonnet-4-7",
            "endpoint": "messages",
            "status": "succeeded",
            "stream": True,
            "usage": {
                "input": 1_200,
                "cache_read": 10,
                "cache_write_5m": 20,
                "cache_write_1h": 30,
                "output": 300,
                "reasoning": 100,
            },
            "credits_charged": "12.500001",
            "credits_compensated": 3,
            "insurance": {
                "status": "capped",
                "trigger": "latency",
                "threshold_ms": 1_000,
                "credits_due": "3.125",
                "policy_version": str(KEY_ID),
            },
            "absorbed": 0,
            "estimated": False,
            "latency_ms": 1_234,
            "session_id": "s-1",
            "key_id": str(KEY_ID),
            "http_status": 200,
            "error_code": None,
            "route": str(KEY_ID),
            "provider": "anthropic",
            "adapted": "temperature: 1.4 -> 1",
            "received_at": "2026-11-22T15:00:00Z",
            "first_byte_ms": 80,
            "queue_ms": 5,
        }
    ]


def test_the_newest_come_first_and_only_the_accounts_own(alice: Account) -> None:
    charlie = create_account(name="charlie", actor="root")
    records = [write(alice) for _ in range(25)]
    write(charlie)
    shown = [row["request_id"] for row in usage("alice")]
    assert shown == [show_request_id(record.request_id) for record in reversed(records[5:])]
    assert len(usage("alice", "--last", "3")) == 3
    assert len(newest_records(alice.id, last=100)) == 25


def test_an_account_without_usage_has_an_empty_list(alice: Account) -> None:
    assert usage("alice") == []


@pytest.mark.parametrize(("last", "line"), [("0", "--last must be from 1"), ("x", "invalid int value: 'x'")])
def test_a_meaningless_count_is_refused(alice: Account, last: str, line: str) -> None:
    with pytest.raises(CommandError, match=line):
        call_command("usage", "alice", "--last", last)
