"""What follows from a verdict: strikes, suspensions, and how an operator takes them back. One transaction each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from apps.accounts import audit
from apps.accounts.mistakes import Mistake, clean_line
from apps.accounts.models import Account, Notification
from apps.accounts.notifications import notify
from apps.core import clock
from apps.core.errors import rfc3339
from apps.core.ids import new_id, show_request_id
from apps.keys.cli.verdict import Kind, Verdict
from apps.keys.models import ApiKey, CliViolation
from apps.keys.services import reinstate_key, suspend_key

GATEWAY: Final = "gateway"
"""The actor of a suspension that no person made."""
STRIKES: Final = 3
STRIKE_LIFE: Final = timedelta(hours=24)
WORDS_LENGTH: Final = 500
REASON_LENGTH: Final = 200

Consequence = CliViolation.Consequence


@dataclass(frozen=True, slots=True)
class Incident:
    """A call that was not the official CLI's."""

    request_id: uuid.UUID
    key_id: uuid.UUID
    model_id: str
    verdict: Verdict
    evidence: Mapping[str, object]
    """Redacted; plain JSON."""
    is_dry_run: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What followed."""

    violation_id: uuid.UUID | None
    """None where the key was suspended already: nothing more was written."""
    consequence: str
    strike: int = 0
    resets_at: datetime | None = None
    """When the first of the strikes that count is forgotten."""


@transaction.atomic
def record_violation(incident: Incident, *, now: datetime) -> Outcome:
    """Write a violation down with what follows from it. Calls of one key go one after another: the row's lock counts
    strikes exactly, from any number of processes."""
    key = ApiKey.objects.select_for_update().get(id=incident.key_id)
    if key.status != ApiKey.Status.ACTIVE:
        return Outcome(None, Consequence.SUSPENDED)
    account = Account.objects.get(id=key.account_id)
    standing = _standing_strikes(key.id, now)
    consequence, strike = _decide(incident, account, strikes=len(standing))
    violation = CliViolation.objects.create(
        id=new_id(),
        key=key,
        account=account,
        model_id=incident.model_id,
        request_id=incident.request_id,
        verdict=incident.verdict.kind.value,
        signs=[finding.sign.value for finding in incident.verdict.findings],
        words=incident.verdict.words[:WORDS_LENGTH],
        evidence=dict(incident.evidence),
        consequence=consequence,
        strike=strike,
        created_at=now,
    )
    if consequence == Consequence.SUSPENDED:
        suspend_key(key_id=key.id, why=_reason(violation), actor=GATEWAY)
    if consequence != Consequence.RECORDED:
        _tell(violation, key)
    first = min((row.created_at for row in standing), default=now)
    return Outcome(violation.id, consequence, strike, first + STRIKE_LIFE if strike else None)


def _decide(incident: Incident, account: Account, *, strikes: int) -> tuple[str, int]:
    """What follows, and the number of the strike (0: it is none)."""
    if incident.is_dry_run:
        return Consequence.RECORDED, 0
    if account.cli_violation == Account.CliViolation.BLOCK:
        return Consequence.BLOCKED, 0
    if incident.verdict.kind is Kind.FOREIGN:
        return Consequence.SUSPENDED, 0
    strike = strikes + 1
    return (Consequence.SUSPENDED if strike >= STRIKES else Consequence.STRUCK), strike


def _standing_strikes(key_id: uuid.UUID, now: datetime) -> list[CliViolation]:
    """The strikes that count against a key, oldest first."""
    recent = CliViolation.objects.filter(key_id=key_id, created_at__gt=now - STRIKE_LIFE, created_at__lte=now)
    return list(recent.filter(strike__gt=0, lifted_at=None).order_by("created_at"))


def _reason(violation: CliViolation) -> str:
    """Why the key is suspended; its end names the violation, so that lifting that one finds its key."""
    mark = _mark(violation.id)
    words = f"{violation.model_id} is for the Claude Code CLI only: {violation.words}"
    return f"{words[: REASON_LENGTH - len(mark) - 1].rstrip()} {mark}"


def _mark(violation_id: uuid.UUID) -> str:
    return f"({violation_id.hex})"


def _tell(violation: CliViolation, key: ApiKey) -> None:
    """Let the people of the account know: of every strike and suspension, of what is only blocked once a day."""
    subject = str(violation.id)
    if violation.consequence == Consequence.BLOCKED:
        subject = f"{key.id} blocked {violation.created_at:%Y-%m-%d}"
        what = "The call was blocked."
    elif violation.consequence == Consequence.STRUCK:
        what = f"Strike {violation.strike} of {STRIKES} in 24 hours: at the last one the key is suspended."
    else:
        what = f"The key is suspended. Ask your operator to lift violation {violation.id}."
    words = violation.words[:100]
    message = f"{key} called {violation.model_id}, which is for the Claude Code CLI only: {words}. {what}"
    notify(account_id=violation.account_id, kind=Notification.Kind.CLI_VIOLATION, subject=subject, message=message)


@transaction.atomic
def lift_violation(*, violation_id: uuid.UUID, why: str, actor: str) -> CliViolation:
    """Take a violation back: its strike counts no more, and a key that it suspended calls again. A violation that is
    lifted already stays as it is.

    Raises: Mistake.
    """
    why = clean_line(why, "the reason", most=REASON_LENGTH)
    violation = CliViolation.objects.filter(id=violation_id).first()
    if violation is None:
        raise Mistake(f"no violation with the id '{violation_id}'")
    # The key first, as everywhere: two locks in two orders could wait on each other.
    key = ApiKey.objects.select_for_update().get(id=violation.key_id)
    violation.refresh_from_db()
    if violation.lifted_at is not None:
        return violation
    violation.lifted_at, violation.lifted_by, violation.lifted_reason = clock.now(), actor, why
    violation.save(update_fields=["lifted_at", "lifted_by", "lifted_reason"])
    detail = {"why": why, "verdict": violation.verdict, "consequence": violation.consequence}
    audit.record(
        actor=actor, action="cli_violation.lifted", target=violation, account_id=violation.account_id, detail=detail
    )
    if key.status == ApiKey.Status.SUSPENDED and not _is_still_founded(key):
        reinstate_key(key_id=key.id, why=why, actor=actor)
    return violation


def _is_still_founded(key: ApiKey) -> bool:
    """Whether the key's suspension stands on something else than violations that were lifted."""
    suspending = key.cli_violations.filter(consequence=Consequence.SUSPENDED).order_by("-created_at")
    violation = next((row for row in suspending if key.suspended_reason.endswith(_mark(row.id))), None)
    if violation is None:  # an operator's own reason
        return True
    if violation.lifted_at is not None:
        return False
    if violation.verdict == CliViolation.Verdict.FOREIGN:
        return True
    return len(_standing_strikes(key.id, violation.created_at)) >= STRIKES


def find_violation(text: str) -> CliViolation:
    """The violation with this id.

    Raises: Mistake, where there is none.
    """
    try:
        found = CliViolation.objects.select_related("key").filter(id=uuid.UUID(text)).first()
    except ValueError:
        found = None
    if found is None:
        raise Mistake(f"no violation with the id {text!r}")
    return found


def violations_of(account_id: uuid.UUID, *, most: int) -> list[CliViolation]:
    """An account's violations, newest first."""
    rows = CliViolation.objects.filter(account_id=account_id).select_related("key")
    return list(rows.order_by("-created_at", "-id")[:most])


def violation_facts(violation: CliViolation) -> dict[str, object]:
    """A violation as `list_violations --json` prints it."""
    return {
        "violation_id": str(violation.id),
        "key_id": str(violation.key_id),
        "key": violation.key.name,
        "model": violation.model_id,
        "request_id": show_request_id(violation.request_id),
        "verdict": violation.verdict,
        "signs": violation.signs,
        "words": violation.words,
        "evidence": violation.evidence,
        "consequence": violation.consequence,
        "dry_run": violation.consequence == Consequence.RECORDED,
        "strike": violation.strike or None,
        "created_at": rfc3339(violation.created_at),
        "lifted_at": None if violation.lifted_at is None else rfc3339(violation.lifted_at),
        "lifted_by": violation.lifted_by or None,
        "lifted_reason": violation.lifted_reason or None,
    }
