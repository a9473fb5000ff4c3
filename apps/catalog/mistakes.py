"""What an operator asked of the catalog and cannot have."""

from __future__ import annotations

from apps.accounts.mistakes import Mistake


class CatalogMistake(Mistake):
    """About models, prices and policies, or about a catalog file."""
