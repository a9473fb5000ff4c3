"""A model of the whole ledger against the store: no divergence in 500 steps, or in as many as LEDGER_STEPS says.

The long form is for `make faults` and whoever changes a rule; it is run once per kind of store:

    LEDGER_STEPS=10000 python -m pytest tests/ledger/test_machine.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.ledger.contract import Clock, StoreDoor, backend_store, keep_clear_of_the_hours_end
from tests.ledger.machine import LedgerMachine

STEPS = int(os.environ.get("LEDGER_STEPS", "500"))
STEPS_PER_LIFE = 50
LIVES_PER_ROUND = 10
ROUND_S = 60
"""No hour turns by itself while a round of lives runs: on PostgreSQL nobody can hold the clock."""


@pytest.fixture
def door(ledger_db: None) -> Iterator[StoreDoor]:
    opened = StoreDoor(backend_store())
    yield opened
    opened.close()


@pytest.fixture
def embedded_clock(request: pytest.FixtureRequest) -> Clock | None:
    """The embedded store's, standing still; a server's cannot be held."""
    return None if connection.vendor == "postgresql" else request.getfixturevalue("app_clock")


def test_the_store_and_the_model_never_differ(door: StoreDoor, embedded_clock: Clock | None) -> None:
    class Machine(LedgerMachine):
        pass

    Machine.door, Machine.clock = door, embedded_clock
    while Machine.steps < STEPS:
        if embedded_clock is None:
            keep_clear_of_the_hours_end(margin_s=ROUND_S)
        lives = min(LIVES_PER_ROUND, -(-(STEPS - Machine.steps) // STEPS_PER_LIFE))
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=lives,
                stateful_step_count=STEPS_PER_LIFE,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    print(f"{Machine.steps} steps, 0 divergences")
