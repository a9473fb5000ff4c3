"""Wake-up calls. Each may be lost, repeated or late: the next one finds what was missed."""

from __future__ import annotations

from celery import shared_task

from apps.core import clock
from apps.upstreams import states


@shared_task(name="upstreams.states", queue="maintenance", ignore_result=True)
def forget_states(**_: object) -> None:
    """Delete the ids of what providers no longer keep."""
    states.forget_expired(clock.now())
