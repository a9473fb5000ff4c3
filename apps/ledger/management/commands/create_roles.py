"""`create_roles`: apart from who migrates, a database role that serves and cannot change what was booked."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import ProgrammingError, connection

from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.mistakes import Mistake
from apps.ledger import roles


class Command(OperatorCommand):
    help = "Make the roles hypereal_owner (migrates) and hypereal_app (serves) on PostgreSQL; run it as a superuser."

    def add_options(self, parser: CommandParser) -> None:
        pass

    def run(self, options: dict[str, Any]) -> Output:
        if connection.vendor != "postgresql":
            raise Mistake("roles are PostgreSQL's: set DATABASE_URL")
        try:
            tables = roles.create_roles()
        except ProgrammingError as error:
            raise Mistake(f"this database user may not do it: {str(error).splitlines()[0]}") from None
        return Output(
            data={"owner": roles.OWNER, "app": roles.APP, "tables": tables},
            text=f"{roles.OWNER} owns {tables} tables; {roles.APP} serves. Give both a password, then serve with"
            f" DATABASE_URL as {roles.APP} and HYPEREAL_OWNER_DATABASE_URL as {roles.OWNER}.",
        )
