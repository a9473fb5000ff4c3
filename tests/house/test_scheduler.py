"""The schedule, and the thread that runs it in the embedded default."""

from __future__ import annotations

import logging
import threading

import pytest
from django.conf import settings

from hypereal.celery import app
from hypereal.schedule import SCHEDULE, Job
from hypereal.scheduler import Scheduler, run_task

QUICK_S = 5


def test_every_task_of_the_schedule_exists_and_beat_sends_it() -> None:
    app.autodiscover_tasks(force=True)
    assert {job.task for job in SCHEDULE} <= set(app.tasks)
    assert {name: entry["schedule"] for name, entry in app.conf.beat_schedule.items()} == {
        "ledger.sweep": 10.0,
        "insurance.pay_due": 5.0,
        "ledger.sweep_grants": 60.0,
        "ledger.tend_windows": 60.0,
        "ledger.forget_keys": 600.0,
        "ledger.partitions": 86_400.0,
        "upstreams.states": 3_600.0,
        "keys.forget_sightings": 3_600.0,
    }


def test_every_task_has_a_queue_that_workers_take_from() -> None:
    app.autodiscover_tasks(force=True)
    queues = {getattr(task, "queue", None) or app.conf.task_default_queue for task in app.tasks.values()}
    assert queues <= {queue.name for queue in app.conf.task_queues}


def test_celery_speaks_json_and_keeps_no_results() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.get("result_backend") is None
    assert app.conf.task_always_eager is settings.ENVIRONMENT.is_embedded


def test_everything_runs_at_start_and_then_at_its_times() -> None:
    ran: list[str] = []
    seen = threading.Event()

    def run(task: str) -> None:
        ran.append(task)
        if ran.count("often") == 3:
            seen.set()

    scheduler = Scheduler([Job("often", every_s=0), Job("rarely", every_s=3600)], run=run)
    scheduler.start()
    assert seen.wait(QUICK_S)
    scheduler.stop()
    assert ran[:2] == ["often", "rarely"]
    assert ran.count("rarely") == 1
    assert not any(thread.name == "scheduler" for thread in threading.enumerate())


def test_a_task_that_fails_is_logged_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    seen = threading.Event()

    def run(task: str) -> None:
        if task == "broken":
            raise RuntimeError("no")
        seen.set()

    scheduler = Scheduler([Job("broken", every_s=3600), Job("sound", every_s=3600)], run=run)
    with caplog.at_level(logging.ERROR):
        scheduler.start()
        assert seen.wait(QUICK_S)
        scheduler.stop()
    assert "The task broken failed; it runs again in 3600 s." in caplog.text


def test_stopping_waits_for_the_task_that_runs() -> None:
    began, ended = threading.Event(), threading.Event()

    def run(task: str) -> None:
        began.set()
        ended.wait(0.2)
        ended.set()

    scheduler = Scheduler([Job("slow", every_s=3600)], run=run)
    scheduler.start()
    assert began.wait(QUICK_S)
    scheduler.stop()
    assert ended.is_set()


def test_a_scheduler_that_never_started_stops() -> None:
    Scheduler([Job("never", every_s=1)], run=lambda task: None).stop()


@pytest.mark.django_db(transaction=True)
def test_the_real_tasks_run_in_the_thread() -> None:
    failures: list[str] = []
    done = threading.Event()

    def run(task: str) -> None:
        try:
            run_task(task)
        except Exception as failure:
            failures.append(f"{task}: {failure!r}")
        if task == SCHEDULE[-1].task:
            done.set()

    scheduler = Scheduler(SCHEDULE, run=run)
    scheduler.start()
    assert done.wait(QUICK_S)
    scheduler.stop()
    assert failures == []
