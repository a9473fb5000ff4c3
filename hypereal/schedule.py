"""What runs by the clock: the one list for Celery's beat and for the embedded scheduler.

Every task can be lost, repeated or late; each looks for itself what is due.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Job:
    """A task by its registered name, run at start and then every so often."""

    task: str
    every_s: int


SCHEDULE: Final = (
    Job("ledger.sweep", every_s=10),
    Job("insurance.pay_due", every_s=5),
    Job("ledger.sweep_grants", every_s=60),
    Job("ledger.tend_windows", every_s=60),
    Job("ledger.forget_keys", every_s=10 * 60),
    Job("ledger.partitions", every_s=24 * 60 * 60),
    Job("upstreams.states", every_s=60 * 60),
    Job("keys.forget_sightings", every_s=60 * 60),
)
