"""Each app's SQL writes its own app's tables, and no other's."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

APPS = Path(__file__).parents[2] / "apps"
WRITE = re.compile(
    r"\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE|DELETE\s+FROM|TRUNCATE)\s+(?:ONLY\s+)?([a-z_]+)", re.IGNORECASE
)
NOT_TABLES = {"set", "or", "of", "skip"}
"""`DO UPDATE SET`, `BEFORE UPDATE OR DELETE`, `FOR NO KEY UPDATE OF` and `SKIP LOCKED`."""
FILES = sorted(APPS.glob("*/store/sql/*.sql"))
MODULES = sorted(APPS.glob("*/store/*.py"))


def written_tables(statement: str) -> set[str]:
    without_comments = "\n".join(line for line in statement.splitlines() if not line.lstrip().startswith("--"))
    return {table.lower() for table in WRITE.findall(without_comments)} - NOT_TABLES


def constants(module: ModuleType) -> Iterator[str]:
    """A module's statements, less those that it took from another app's file."""
    for name, value in vars(module).items():
        if name.isupper() and isinstance(value, str) and not name.startswith("INSERT_RECORDS"):
            yield value


def test_there_are_statements_to_look_at() -> None:
    names = {path.name for path in FILES}
    assert {"write_batch.postgres.sql", "insert_records.postgres.sql", "insert_records.sqlite.sql"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_statement_file_writes_only_its_own_apps_tables(path: Path) -> None:
    app = path.parents[2].name
    assert {table for table in written_tables(path.read_text()) if not table.startswith(f"{app}_")} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_statement_file_says_what_goes_in_and_what_comes_out(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("--")]
    assert header[0].startswith(f"-- {path.name} : ")
    assert "-- in   : " in "\n".join(header)
    assert re.search(r"\bout\s*: ", "\n".join(header))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parents[1].name}/{path.name}")
def test_a_modules_statements_write_only_its_own_apps_tables(path: Path) -> None:
    app = path.parents[1].name
    module = importlib.import_module(f"apps.{app}.store" + ("" if path.stem == "__init__" else f".{path.stem}"))
    strangers = {
        table
        for statement in constants(module)
        for table in written_tables(statement)
        if not table.startswith(f"{app}_")
    }
    assert strangers == set()


def test_what_a_statement_writes_is_recognised() -> None:
    assert written_tables((APPS / "ledger/store/sql/write_batch.postgres.sql").read_text()) == {
        "ledger_balance",
        "ledger_hold",
        "ledger_budgetwindow",
        "ledger_entry",
    }
    assert written_tables("-- UPDATE other\nDELETE FROM keys_apikey") == {"keys_apikey"}
    assert written_tables((APPS / "ledger/store/sql/lock_accounts.postgres.sql").read_text()) == set()
