"""Canonical usage out of what Messages replies and streams report."""

from __future__ import annotations

from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.dialects.common.metering import count, is_nonsense

_COUNTS: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
_NESTED: Final = {
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    "output_tokens_details": ("thinking_tokens",),
    "server_tool_use": ("web_search_requests",),
}


class UsageMeter:
    """Usage that a stream reports piece by piece. Later counts replace earlier ones, field by field: they are running
    totals, and `message_delta` repeats only some of them (never the split of cache writes by lifetime).

    Shape:  {"input_tokens": 10, "cache_creation_input_tokens": 2070, "output_tokens": 5,
             "cache_creation": {"ephemeral_5m_input_tokens": 14, "ephemeral_1h_input_tokens": 2056}}
            -> input 10, cache_write_5m 14, cache_write_1h 2056, output 5
    `input_tokens` leaves cache reads and writes out; `output_tokens` includes thinking.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, raw: object) -> None:
        """Merge one usage object; anything else counts nothing, nor does one that counts less than nothing."""
        if not isinstance(raw, dict) or is_nonsense(raw):
            return
        for name in _COUNTS:
            self._merge(raw, name)
        for holder, names in _NESTED.items():
            for name in names:
                self._merge(raw.get(holder), name)

    def add_prompt(self, raw: object) -> None:
        """Merge what a stream's first event reports: the output counted there is provisional, and no count."""
        if isinstance(raw, dict):
            self.add({name: value for name, value in raw.items() if not name.startswith("output_tokens")})

    @property
    def counts_output(self) -> bool:
        return "output_tokens" in self._counts

    def read(self) -> TokenUsage | None:
        """What is known by now; None where the prompt was not reported."""
        counts = self._counts
        if "input_tokens" not in counts:
            return None
        split_1h = counts.get("ephemeral_1h_input_tokens", 0)
        written = counts.get("cache_creation_input_tokens", split_1h + counts.get("ephemeral_5m_input_tokens", 0))
        written_1h = min(split_1h, written)
        output = counts.get("output_tokens", 0)
        return TokenUsage(
            input=counts["input_tokens"],
            cache_read=counts.get("cache_read_input_tokens", 0),
            cache_write_5m=written - written_1h,
            cache_write_1h=written_1h,
            output=output,
            reasoning=min(counts.get("thinking_tokens", 0), output),
            server_tool_requests=counts.get("web_search_requests", 0),
        )

    def _merge(self, holder: object, name: str) -> None:
        value = count(holder, name)
        if value is not None:
            self._counts[name] = value


def read_usage(raw: object) -> TokenUsage | None:
    """Meter a plain reply's usage; None where it does not count both input and output."""
    meter = UsageMeter()
    meter.add(raw)
    return meter.read() if meter.counts_output else None


def render_usage(usage: TokenUsage) -> dict[str, Any]:
    """Usage as this dialect shows it, where the upstream's own never came or came in another dialect."""
    shown: dict[str, Any] = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.cache_write_1h:
        shown["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.reasoning:
        shown["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return shown
