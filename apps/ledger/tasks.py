"""Wake-up calls. Each may be lost, repeated or late: the sweep finds what was missed."""

from __future__ import annotations

from celery import shared_task

from apps.ledger import budgets, partitions, services, sweeper


@shared_task(name="ledger.sweep", queue="money", ignore_result=True)
def sweep(**_: object) -> None:
    """Expire the holds of processes that are gone."""
    sweeper.sweep()


@shared_task(name="ledger.sweep_grants", queue="maintenance", ignore_result=True)
def sweep_grants(**_: object) -> None:
    """Take expired grants off accounts that nobody uses."""
    sweeper.sweep_grants()


@shared_task(name="ledger.tend_windows", queue="maintenance", ignore_result=True)
def tend_windows(**_: object) -> None:
    """Tell of budgets that fill up; put windows whose time is over into the history."""
    budgets.tend_windows()


@shared_task(name="ledger.partitions", queue="maintenance", ignore_result=True)
def make_partitions(**_: object) -> None:
    """Make the coming months' partitions of entries and usage records."""
    partitions.make_partitions()


@shared_task(name="ledger.forget_keys", queue="maintenance", ignore_result=True)
def forget_keys(**_: object) -> None:
    """Remove idempotency keys, and replies kept for them, that are older than a day."""
    services.forget_idempotency_keys()
