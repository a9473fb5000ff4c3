"""Calls that were slow, on a real ledger: what a stream leaves behind for insurance to pay."""

from __future__ import annotations

from apps.catalog import services as catalog
from apps.catalog.models import InsuranceVersion
from apps.core.money import Credits
from apps.ledger.books import COMPENSATION
from apps.ledger.models import Entry
from apps.ledger.operations import Hold, Settle
from apps.ledger.services import top_up
from apps.ledger.store import orm
from apps.usage.models import UsageRecord
from tests.ledger.contract import Payer

MODEL_ID = "claude-sonnet-4-7"
CREDIT = 1_000_000


def insured_model() -> InsuranceVersion:
    """The shipped catalog; return what insurance promises for the model that payers call."""
    catalog.load_catalog()
    return InsuranceVersion.objects.get(model_id=MODEL_ID)


def afford(payer: Payer, *, credits: int = 1_000) -> None:
    top_up(account_id=payer.account_id, amount=Credits.whole(credits), reference="more", actor="tests")


def settled(
    payer: Payer,
    version: InsuranceVersion,
    *,
    charge: int = 12 * CREDIT,
    is_stream: bool = True,
    latency_ms: int = 194_320,
) -> Hold:
    """A call that was charged and found slow, as the gateway settles it."""
    hold = payer.hold(charge)
    orm.commit([hold])
    orm.commit([settlement(payer, hold, version, charge=charge, is_stream=is_stream, latency_ms=latency_ms)])
    return hold


def settlement(
    payer: Payer, hold: Hold, version: InsuranceVersion, *, charge: int, is_stream: bool, latency_ms: int
) -> Settle:
    asked = payer.settle(hold, charge)
    record = asked.record
    record.is_stream, record.latency_ms = is_stream, latency_ms
    record.insurance_version_id = version.id
    record.threshold_ms = version.threshold_ms + (version.ms_per_output_token * record.output_tokens) * is_stream
    record.claim, record.claim_trigger = "paid", "latency"
    asked.payout_percent, asked.defers_payout = version.percent, is_stream
    return asked


def claim(hold: Hold) -> tuple[str, int]:
    """What the record says became of it, and what was paid."""
    row = UsageRecord.objects.get(request_id=hold.request_id)
    return row.claim, row.compensated_micro


def payouts(payer: Payer) -> list[int]:
    entries = Entry.objects.filter(account_id=payer.account_id, kind=COMPENSATION).order_by("seq")
    return list(entries.values_list("amount_micro", flat=True))
