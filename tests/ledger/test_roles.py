"""Roles where there are none to make. What they refuse on PostgreSQL: tests/faults/test_roles.py."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection  # noqa: F401  # the marker below names it


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL has roles")
@pytest.mark.django_db
def test_sqlite_has_no_roles() -> None:
    with pytest.raises(CommandError, match="roles are PostgreSQL's"):
        call_command("create_roles")
