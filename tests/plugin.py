"""Loaded by pytest before Django's settings: tests run on a data directory and secrets of their own.

`DATABASE_URL` and `REDIS_URL` are left as they are: with both set the suite runs against real servers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Final

import pytest

OURS: Final = ("SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "EMAIL_URL", "HOST", "PORT")

TESTS_OWN: Final = ("HYPEREAL_CORPUS_DIR",)
"""What a developer tells the tests, not the product."""

DATA_DIR: Final = tempfile.mkdtemp(prefix="hypereal-tests-")

ASSERTING: Final = tuple(
    f"tests.{name}"
    for name in (
        "flows.bills", "flows.rig", "flows.raw_socket",
        "governor.contract", "governor.contract_queue", "governor.contract_rates", "governor.properties",
        "governor.rig",
    )
)  # fmt: skip
"""Modules that are no tests and assert all the same. Named here, before any of them can be imported."""


def _forget_the_developers_settings() -> None:
    for name in list(os.environ):
        if name in OURS or (name.startswith("HYPEREAL_") and name not in TESTS_OWN):
            del os.environ[name]
    os.environ["HYPEREAL_DATA_DIR"] = DATA_DIR


_forget_the_developers_settings()
pytest.register_assert_rewrite(*ASSERTING)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(DATA_DIR, ignore_errors=True)
