"""Names that callers sent and nobody knew yet, for an operator to read: each once."""

from __future__ import annotations

from typing import Final

from apps.catalog.models import Notice

MAX_NOTICES: Final = 1_000
"""Past that somebody is making names up."""


def keep_notice(kind: str, dialect: str, name: str, model_id: str) -> None:
    """Write a name down, unless it is there already; harmless to repeat, from any number of processes."""
    if not Notice.objects.filter(kind=kind, dialect=dialect, name=name).exists() and (
        Notice.objects.count() < MAX_NOTICES
    ):
        Notice.objects.bulk_create(
            [Notice(kind=kind, dialect=dialect, name=name, model_id=model_id)], ignore_conflicts=True
        )
