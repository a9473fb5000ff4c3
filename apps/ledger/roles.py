"""Two database roles on PostgreSQL: one owns and migrates, the other serves and cannot change what was booked.

Neither the gateway nor anything that is injected into it can then update, delete or empty the entries, or drop what
protects them: that takes the owner, whose address the serving processes do not use.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from apps.ledger.partitions import MAKE_PARTITION

OWNER: Final = "hypereal_owner"
APP: Final = "hypereal_app"

ADDED_TO: Final = "ledger_entry"
"""Rows are only ever added to it."""
READ_ONLY: Final = "django_migrations"

# Sequences that belong to a column follow its table.
_RELATIONS: Final = """
    SELECT c.oid::regclass::text, c.relkind FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'S', 'v', 'm') AND NOT EXISTS (
        SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND c.relkind = 'S' AND d.deptype IN ('a', 'i')
    )
    ORDER BY c.relispartition, 1
"""
_FUNCTIONS: Final = """
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = current_schema()::regnamespace AND p.proname ~ '^(ledger|hypereal)_'
"""
_WRITABLE: Final = """
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT c.relispartition AND c.relname <> ALL(%s)
"""


def create_roles() -> int:
    """Make both roles where they are not there yet, hand this database over to the owner, and grant; return how many
    tables the owner has. Doing it twice changes nothing; on an empty database it is as good as on a migrated one.

    Needs a user who may create roles and owns the database's objects: a superuser. Roles begin without a password.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        for role in (OWNER, APP):
            if not _exists(cursor, role):
                cursor.execute(f"CREATE ROLE {role} LOGIN")
        cursor.execute("SELECT quote_ident(current_database()), quote_ident(current_schema())")
        database, schema = cursor.fetchone()
        cursor.execute(f"GRANT CREATE, CONNECT ON DATABASE {database} TO {OWNER}")
        cursor.execute(f"ALTER SCHEMA {schema} OWNER TO {OWNER}")
        relations = _rows(cursor, _RELATIONS)
        for name, kind in relations:
            cursor.execute(f"ALTER {'SEQUENCE' if kind == 'S' else 'TABLE'} {name} OWNER TO {OWNER}")
        for (function,) in _rows(cursor, _FUNCTIONS):
            cursor.execute(f"ALTER FUNCTION {function} OWNER TO {OWNER}")
        grant(cursor)
    return sum(kind in "rp" for _, kind in relations)


def grant_anew() -> None:
    """After each migration: the serving role gets what it needs of new tables too. Nothing happens without it."""
    if connection.vendor != "postgresql":
        return
    with transaction.atomic(), connection.cursor() as cursor:
        if _exists(cursor, APP):
            grant(cursor)


def grant(cursor: CursorWrapper) -> None:
    """Let the serving role do what serving takes, and nothing else: read everything, write all but entries, add those.

    Partitions are reached through their tables alone, whose privileges count: so none can be emptied by itself.
    """
    cursor.execute("SELECT quote_ident(current_schema()), to_regclass(%s) IS NOT NULL", [ADDED_TO])
    schema, is_migrated = cursor.fetchone()
    cursor.execute(f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")
    cursor.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {APP}")
    cursor.execute(f"GRANT USAGE ON SCHEMA {schema} TO {APP}")
    cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {APP}")
    cursor.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {APP}")
    for (table,) in _rows(cursor, _WRITABLE, [[ADDED_TO, READ_ONLY]]):
        cursor.execute(f"GRANT INSERT, UPDATE, DELETE ON {table} TO {APP}")
    if is_migrated:
        cursor.execute(f"GRANT INSERT ON {ADDED_TO} TO {APP}")
        cursor.execute(f"GRANT EXECUTE ON FUNCTION {MAKE_PARTITION} TO {APP}")


def _exists(cursor: CursorWrapper, role: str) -> bool:
    cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = %s)", [role])
    return bool(cursor.fetchone()[0])


def _rows(cursor: CursorWrapper, statement: str, parameters: list[list[str]] | None = None) -> list[tuple[str, ...]]:
    cursor.execute(statement, parameters)
    return list(cursor.fetchall())
