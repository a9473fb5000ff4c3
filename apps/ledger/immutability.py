"""Entries are only ever added: the database itself refuses everything else."""

from __future__ import annotations

from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

REFUSAL: Final = "ledger entries are never changed: add a correction"

POSTGRES: Final = (
    f"""
    CREATE OR REPLACE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE OR REPLACE TRIGGER ledger_entry_immutable BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change()
    """,
)
SQLITE: Final = (
    *(
        f"""
        CREATE TRIGGER IF NOT EXISTS ledger_entry_no_{verb} BEFORE {verb} ON ledger_entry
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END
        """
        for verb in ("update", "delete")
    ),
    # INSERT OR REPLACE deletes without firing the trigger above.
    f"""
    CREATE TRIGGER IF NOT EXISTS ledger_entry_no_replace BEFORE INSERT ON ledger_entry
    WHEN EXISTS (
        SELECT 1 FROM ledger_entry
        WHERE id = NEW.id
        OR (account_id = NEW.account_id AND operation_id = NEW.operation_id AND kind = NEW.kind)
    )
    BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END
    """,  # noqa: S608  # the refusal is a constant
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Put the triggers in place. Doing it twice changes nothing."""
    with connection.cursor() as cursor:
        for statement in POSTGRES if connection.vendor == "postgresql" else SQLITE:
            cursor.execute(statement)
