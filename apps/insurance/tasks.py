"""A wake-up call. It may be lost, repeated or late: the usage records say what is due."""

from __future__ import annotations

from celery import shared_task

from apps.insurance import services


@shared_task(name="insurance.pay_due", queue="money", ignore_result=True)
def pay_due(**_: object) -> None:
    """Pay what insurance owes for streams. Sent when one turns out slow, and every few seconds."""
    services.pay_due()
