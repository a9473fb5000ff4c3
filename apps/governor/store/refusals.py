"""What a shed caller is told: which limit, its value, its use, when to come back. The same words for every store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from apps.core.errors import LimitFacts
from apps.governor.rules import WINDOW_S, NoPlace, whole_seconds
from apps.governor.store.protocol import Ask, Shed

_RATES: Final[dict[str, tuple[str, str]]] = {
    "account_rpm": ("This account", "requests"),
    "key_rpm": ("This key", "requests"),
    "key_model_rpm": ("This key on {model}", "requests"),
    "model_rpm": ("{model}", "requests"),
    "model_tpm": ("{model}", "tokens"),
    "model_ipm": ("{model}", "images"),
}


def rate_exceeded(code: str, *, model_id: str, asked: int, value: int, used: int, wait_s: float, now: datetime) -> Shed:
    """A rate per minute is used up. `wait_s`: until enough of the window has left.

    Example: model_tpm, asked 900, value 1000, used 400 ->
    "gpt-5-5 is limited to 1000 tokens per minute: 400 are counted, this call needs 900. Retry in 12 s."
    """
    template, unit = _RATES[code]
    who = template.format(model=model_id)
    rule = f"{who} is limited to {value} {unit} per minute"
    if asked > value:
        return Shed(
            code,
            f"{rule} and this call alone needs {asked}: it can never pass.",
            facts=LimitFacts(limit=code, value=value, used=used, needed=asked),
            retry_after_s=WINDOW_S,
        )
    retry_after_s = whole_seconds(wait_s)
    return Shed(
        code,
        f"{rule}: {used} are counted, this call needs {asked}. Retry in {retry_after_s} s.",
        facts=LimitFacts(limit=code, value=value, used=used, resets_at=now + timedelta(seconds=wait_s)),
        retry_after_s=retry_after_s,
    )


def queue_full(no_place: NoPlace, *, model_id: str, wait_s: float | None, now: datetime) -> Shed:
    """No slot is free and the call may not wait. `wait_s`: until a place is free for sure, where that is known."""
    if no_place.limit == "concurrency":
        reason = f"all {no_place.value} slots of {model_id} are taken and it has no queue"
    elif no_place.is_own:
        reason = f"this account already has its share of the queue for {model_id}"
    else:
        reason = f"the queue for {model_id} is full"
    retry_after_s = whole_seconds(wait_s or 0)
    return Shed(
        "queue_full",
        f"Busy: {reason} ({no_place.used} of {no_place.value}). Retry in {retry_after_s} s.",
        facts=LimitFacts(
            limit=no_place.limit,
            value=no_place.value,
            used=no_place.used,
            resets_at=None if wait_s is None else now + timedelta(seconds=wait_s),
        ),
        retry_after_s=retry_after_s,
    )


def queue_timeout(ask: Ask, *, in_flight: int) -> Shed:
    """The call waited as long as it may and no slot came free; as long again is the best guess for the next one."""
    waited_s = ask.capacity.queue_s
    return Shed(
        "queue_timeout",
        f"Busy: no slot of {ask.model_id} came free within {waited_s} s. Retry in {waited_s} s.",
        facts=LimitFacts(limit="concurrency", value=ask.capacity.concurrency, used=in_flight),
        retry_after_s=waited_s,
    )
