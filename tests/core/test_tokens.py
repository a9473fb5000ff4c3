from __future__ import annotations

from apps.core.tokens import NO_USAGE, TokenUsage


def test_buckets_add_up_without_their_parts() -> None:
    usage = TokenUsage(
        input=100,
        cache_read=2_000,
        cache_write_5m=30,
        cache_write_1h=4,
        output=500,
        reasoning=400,
        image_input=60,
        image_output=70,
        server_tool_requests=2,
    )
    assert (usage.prompt, usage.total) == (2_134, 2_634)
    assert (NO_USAGE.prompt, NO_USAGE.total) == (0, 0)
