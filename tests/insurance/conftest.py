"""The ledger's database and its people: insurance pays into their balances."""

from __future__ import annotations

from tests.ledger.conftest import alice, app_clock, charlie, entries_protected_again, ledger_db

__all__ = ["alice", "app_clock", "charlie", "entries_protected_again", "ledger_db"]
