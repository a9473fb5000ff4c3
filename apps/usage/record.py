"""A request's record on its way to the log. The hot path fills it; the store that moves the money writes it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from apps.core.money import MAX_MICRO
from apps.core.tokens import TokenUsage

NOT_INSURED = ""
NOT_TRIGGERED = "not_triggered"
DUE = "due"
PAID = "paid"
CAPPED = "capped"
VOID = "void"
"""What became of a call's insurance: `UsageRecord.Claim` says more of each."""

MAX_TEXT = {"error_detail": 300, "session_id": 200, "client": 200, "upstream_request_id": 120, "adapted": 3_000}
"""Columns that hold text from outside: cut to what fits, never an error."""


@dataclass(slots=True)
class Record:
    """One row of `usage_usagerecord`: the fields are its columns, in order of the insert files."""

    request_id: uuid.UUID
    account_id: uuid.UUID
    key_id: uuid.UUID
    model_id: str
    endpoint: str
    is_stream: bool
    received_at: datetime
    status: str = "refused"
    http_status: int = 0
    error_code: str = ""
    error_detail: str = ""
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    server_tool_requests: int = 0
    price_version_id: uuid.UUID | None = None
    insurance_version_id: uuid.UUID | None = None
    threshold_ms: int | None = None
    claim: str = ""
    claim_trigger: str = ""
    due_micro: int = 0
    charge_micro: int = 0
    compensated_micro: int = 0
    absorbed_micro: int = 0
    held_micro: int = 0
    is_estimated: bool = False
    latency_ms: int = 0
    first_byte_ms: int | None = None
    queue_ms: int = 0
    session_id: str = ""
    client: str = ""
    route_id: uuid.UUID | None = None
    provider: str = ""
    upstream_request_id: str = ""
    adapted: str = ""
    facts: dict[str, Any] | None = None
    attempts: list[dict[str, Any]] | None = None
    """What upstreams were asked, where the first one did not serve the call."""

    def use(self, usage: TokenUsage) -> None:
        """Write down what the call used, as far as it can be counted: a record must never be impossible to write."""
        self.input_tokens = min(usage.input, MAX_MICRO)
        self.cache_read_tokens = min(usage.cache_read, MAX_MICRO)
        self.cache_write_5m_tokens = min(usage.cache_write_5m, MAX_MICRO)
        self.cache_write_1h_tokens = min(usage.cache_write_1h, MAX_MICRO)
        self.output_tokens = min(usage.output, MAX_MICRO)
        self.reasoning_tokens = min(usage.reasoning, MAX_MICRO)
        self.image_input_tokens = min(usage.image_input, MAX_MICRO)
        self.image_output_tokens = min(usage.image_output, MAX_MICRO)
        self.server_tool_requests = min(usage.server_tool_requests, MAX_MICRO)


COLUMNS = tuple(field.name for field in fields(Record))


def clean(text: str, column: str) -> str:
    """Text from outside as the log may keep it: no NUL or control characters, no lone surrogates, cut to its column."""
    if len(text) <= MAX_TEXT[column] and text.isascii() and text.isprintable():
        return text
    printable = "".join(character if character.isprintable() else " " for character in text[: MAX_TEXT[column]])
    return printable.encode("utf-8", "replace").decode()
