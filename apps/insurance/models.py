"""Nothing is kept twice: a claim is a usage record that says that something was due."""

from __future__ import annotations

from typing import ClassVar

from apps.usage.models import UsageRecord


class Claim(UsageRecord):
    """A call that ran abnormally long, and what was paid for it: the operator's view of usage records."""

    class Meta:
        proxy = True
        ordering: ClassVar = ["-request_id"]
        verbose_name = "insurance claim"
