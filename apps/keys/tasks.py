"""Wake-up calls. Each may be lost, repeated or late: the next one finds what was missed."""

from __future__ import annotations

from celery import shared_task

from apps.core import clock
from apps.keys.cli import sightings


@shared_task(name="keys.forget_sightings", queue="maintenance", ignore_result=True)
def forget_sightings(**_: object) -> None:
    """Delete what was seen of devices and sessions that says nothing any more."""
    sightings.forget_expired(clock.now())
