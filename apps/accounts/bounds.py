"""CHECKs for amounts and counts: what the database itself holds every row to."""

from __future__ import annotations

from django.db.models import Q

from apps.core.money import MAX_MICRO


def in_bounds(*columns: str, least: int = 0) -> Q:
    """Each of these is from `least` to the largest amount that we can count."""
    condition = Q()
    for column in columns:
        condition &= Q(**{f"{column}__gte": least, f"{column}__lte": MAX_MICRO})
    return condition


def in_bounds_if_any(*columns: str) -> Q:
    """The same for limits and prices, where NULL means that there is none."""
    condition = Q()
    for column in columns:
        condition &= in_bounds(column) | Q(**{column: None})
    return condition
