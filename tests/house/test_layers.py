"""What import contracts cannot say: they see a library whole, not its parts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOT_PATH = sorted((ROOT / "apps" / "gateway").rglob("*.py"))
FORBIDDEN = ("django.db", "django.http", "django.core", "django.contrib", "asgiref.sync")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", HOT_PATH, ids=lambda path: path.name)
def test_the_hot_path_names_no_database_and_no_django_handler(path: Path) -> None:
    found = [name for name in imported(path) if any(name == part or name.startswith(f"{part}.") for part in FORBIDDEN)]
    assert found == []
