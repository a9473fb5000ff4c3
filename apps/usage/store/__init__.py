"""The statements that write usage records: this app owns its rows, the ledger's batch composes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_SQL_DIR: Final = Path(__file__).parent / "sql"
INSERT_RECORDS_POSTGRES: Final = (_SQL_DIR / "insert_records.postgres.sql").read_text()
INSERT_RECORDS_SQLITE: Final = (_SQL_DIR / "insert_records.sqlite.sql").read_text()
