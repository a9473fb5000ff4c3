"""Proof of the payouts, a part of `verify_ledger`: each for an insured call, once, and of the right amount."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from django.db.models import Count, Exists, OuterRef

from apps.catalog.models import InsuranceVersion
from apps.catalog.rules import InsurancePolicy
from apps.core.ids import show_request_id
from apps.core.money import Credits, payout_micro
from apps.insurance.rules import LATENCY, threshold_of
from apps.ledger.books import COMPENSATION
from apps.ledger.models import Entry
from apps.usage.models import UsageRecord

CHUNK: Final = 5_000


def check_payouts(add: Callable[[str], None]) -> None:
    """Compute every payout again from what its call's usage record says and the version that it names; `add` a line for
    each that differs. A record may be gone: logs are kept for a time."""
    payouts = Entry.objects.filter(kind=COMPENSATION)
    twice = payouts.order_by().values("account_id", "operation_id").annotate(times=Count("id")).filter(times__gt=1)
    for row in twice.iterator(CHUNK):
        add(f"{show_request_id(row['operation_id'])}: insurance paid {row['times']} times")
    policies = {version.id: _policy(version) for version in InsuranceVersion.objects.all()}
    for chunk in _chunks(payouts.order_by("operation_id").iterator(CHUNK)):
        records = UsageRecord.objects.in_bulk([entry.operation_id for entry in chunk], field_name="request_id")
        for entry in chunk:
            record = records.get(entry.operation_id)
            wrong = None if record is None else _mistake(entry, record, policies)
            if wrong is not None:
                add(f"{show_request_id(entry.operation_id)}: {wrong}")
    paid = payouts.filter(account_id=OuterRef("account_id"), operation_id=OuterRef("request_id"))
    for told in UsageRecord.objects.filter(~Exists(paid), due_micro__gt=0, compensated_micro__gt=0).iterator(CHUNK):
        add(f"{show_request_id(told.request_id)}: its usage record tells of a payout that was never made")


def _mistake(entry: Entry, record: UsageRecord, policies: Mapping[uuid.UUID, InsurancePolicy]) -> str | None:
    if record.status != UsageRecord.Status.SUCCEEDED or record.is_estimated or not record.charge_micro:
        return "insurance paid for a call that it does not insure"
    if entry.amount_micro != record.compensated_micro:
        return "its payout and its usage record differ"
    policy = None if record.insurance_version_id is None else policies.get(record.insurance_version_id)
    if policy is None:
        return "insurance paid for it by a policy that is not on file"
    due = payout_micro(record.charge_micro, policy.percent)
    was_capped = record.claim == UsageRecord.Claim.CAPPED
    if record.due_micro != due or (entry.amount_micro != due and not was_capped):
        paid, written = Credits(entry.amount_micro), Credits(record.due_micro)
        return f"insurance paid {paid} of {written} due, its policy says {Credits(due)}"
    threshold_ms = threshold_of(policy, output_tokens=record.output_tokens, is_stream=record.is_stream)
    if record.threshold_ms != threshold_ms:
        return f"its threshold was {record.threshold_ms} ms, its policy says {threshold_ms} ms"
    if record.claim_trigger == LATENCY and record.latency_ms <= threshold_ms:
        return f"insurance paid for {record.latency_ms} ms, which is within its threshold"
    return None


def _policy(version: InsuranceVersion) -> InsurancePolicy:
    return InsurancePolicy(version.id, version.threshold_ms, version.percent, version.ms_per_output_token)


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    left = iter(entries)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
