"""The embedded default's clock: one thread of the server process that runs the schedule's tasks, one at a time."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final

from django.db import close_old_connections, connections

from apps.core.clock import Monotonic, monotonic
from hypereal.schedule import SCHEDULE, Job

STOP_S: Final = 10.0
"""How long a task that is running may go on when the server stops."""

logger = logging.getLogger(__name__)


class Scheduler:
    """`start()` it once the application is up, `stop()` it before the stores close.

    A task that fails is logged and runs again at its next time; one that is late is not made up for.
    """

    def __init__(
        self,
        schedule: Iterable[Job] = SCHEDULE,
        *,
        run: Callable[[str], object] | None = None,
        clock: Monotonic = monotonic,
    ) -> None:
        self._schedule = tuple(schedule)
        self._run = run or run_task
        self._clock = clock
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    def start(self) -> None:
        """Run every task now, and from then on at its times."""
        self._thread.start()

    def stop(self) -> None:
        """Return when the task that is running has ended, after STOP_S at the latest."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_S)

    def _loop(self) -> None:
        due = [(self._clock(), place) for place in range(len(self._schedule))]
        heapq.heapify(due)
        try:
            while due:
                due_at, place = due[0]
                if self._is_stopped.wait(max(0.0, due_at - self._clock())):
                    return
                job = self._schedule[place]
                self._run_one(job)
                heapq.heapreplace(due, (max(due_at + job.every_s, self._clock()), place))
        finally:
            connections.close_all()

    def _run_one(self, job: Job) -> None:
        try:
            self._run(job.task)
        except Exception:  # whatever a task does, the others go on
            logger.exception("The task %s failed; it runs again in %s s.", job.task, job.every_s)
        finally:
            close_old_connections()


def run_task(name: str) -> object:
    """Run a registered task in this thread."""
    from hypereal.celery import app

    if name not in app.tasks:
        app.autodiscover_tasks(force=True)
    return app.tasks[name]()
