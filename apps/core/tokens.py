"""What a call used, in buckets that never overlap."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Canonical usage of one call. The buckets are disjoint, except that `reasoning` and `image_output` are parts of
    `output` and `image_input` is a part of `input`: shown apart, priced at their direction's price."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    image_input: int = 0
    image_output: int = 0
    server_tool_requests: int = 0

    @property
    def prompt(self) -> int:
        """All input tokens, cached or not."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def total(self) -> int:
        return self.prompt + self.output


NO_USAGE = TokenUsage()
