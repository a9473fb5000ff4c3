"""What every test shares: a database like the one in production, in a directory of the test run's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite in a file, as it is served: in memory it has no WAL, and threads meet locks that no server ever meets."""
    database = settings.DATABASES["default"]
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database.setdefault("TEST", {})["NAME"] = str(Path(settings.ENVIRONMENT.data_dir) / "tests.sqlite3")
