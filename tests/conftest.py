"""What every test shares: a database like the one in production, in a directory of the test run's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.conf import settings

# They need hundreds of megabytes of clients: `make test-clients` installs them and runs these.
collect_ignore_glob = [] if "TEST_CLIENTS" in os.environ else ["clients/test_*.py"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite in a file, as it is served: in memory it has no WAL, and threads meet locks that no server ever meets."""
    database = settings.DATABASES["default"]
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database.setdefault("TEST", {})["NAME"] = str(Path(settings.ENVIRONMENT.data_dir) / "tests.sqlite3")
