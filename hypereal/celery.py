"""Celery as a wake-up call: nothing here is the truth, and nothing is asked back (no result backend).

    celery -A hypereal.celery worker
    celery -A hypereal.celery beat

In the embedded default there is no broker: tasks run where they are called, and `scheduler.py` calls those of the
schedule.
"""

from __future__ import annotations

import os
from typing import Any, Final

from celery import Celery
from celery.signals import beat_init, worker_init
from kombu import Exchange, Queue

from hypereal.schedule import SCHEDULE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hypereal.settings")

from django.conf import settings

QUEUES: Final = ("default", "money", "maintenance")
"""A worker takes from all of them unless told otherwise (`--queues money`)."""
VISIBILITY_S: Final = 15 * 60
"""When a worker dies whole, its tasks come back after this; no task runs nearly so long."""
BROKER_PATIENCE_S: Final = 2.0
MESSAGE_LIFE_S: Final = 60.0
"""Sweeps found what a message told, when it is older than this."""

app = Celery("hypereal")
app.conf.update(
    broker_url=settings.ENVIRONMENT.redis_url or "memory://",
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": VISIBILITY_S},
    task_always_eager=settings.ENVIRONMENT.is_embedded,
    task_eager_propagates=True,
    result_backend=None,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    task_default_queue=QUEUES[0],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    timezone="UTC",
    # In memory: what is due is sent at start (below), so there is no file to keep.
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        job.task: {
            "task": job.task,
            "schedule": float(job.every_s),
            # A queue that nobody emptied for a while holds one of each, not hundreds.
            "options": {"expires": job.every_s},
        }
        for job in SCHEDULE
    },
)
app.set_default()
app.autodiscover_tasks()


def send(task: str, *, queue: str) -> None:
    """Ask a worker to run a task soon. Raises, where the broker does not take it in a moment, what its client does."""
    timeouts = {"socket_timeout": BROKER_PATIENCE_S, "socket_connect_timeout": BROKER_PATIENCE_S}
    with app.connection_for_write(transport_options=app.conf.broker_transport_options | timeouts) as connection:
        app.send_task(task, queue=queue, connection=connection, retry=False, expires=MESSAGE_LIFE_S)


@worker_init.connect
@beat_init.connect
def refuse_other_secrets(**_: Any) -> None:
    """A worker started by hand is checked like a server."""
    from django.db import connection

    from hypereal.environment import stop
    from hypereal.fingerprints import OtherSecret, check_secrets

    try:
        check_secrets(settings.ENVIRONMENT)
    except OtherSecret as mistake:
        stop(str(mistake))
    finally:
        connection.close()  # the worker forks: no child may inherit this connection


@beat_init.connect
def send_everything_once(**_: Any) -> None:
    """Beat counts from its start: on a machine restarted every night, what is due daily would never run."""
    for job in SCHEDULE:
        app.tasks[job.task].apply_async(expires=job.every_s)
