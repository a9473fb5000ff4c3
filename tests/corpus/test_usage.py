"""Every recorded reply is metered into the buckets that its provider's own counts come to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from apps.core.tokens import TokenUsage
from apps.dialects.protocol import Dialect, StreamRelay
from apps.dialects.registry import DIALECTS
from tests.corpus.recordings import RECORDINGS, Recording, named, needs_corpus

pytestmark = needs_corpus

BODIES: dict[str, dict[str, Any]] = {
    "openai-chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "openai-responses": {"input": "Hi"},
    "openai-images": {"prompt": "Hi"},
    "anthropic-messages": {"max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]},
}
SAME_ON_BOTH_SIDES = [recording for recording in RECORDINGS if recording.dialect in DIALECTS]


def relay(dialect: Dialect, recording: Recording) -> StreamRelay:
    body = {"model": "m", "stream": True, **BODIES[dialect.name]}
    if n := (recording.request or {}).get("n"):
        body["n"] = n
    return dialect.relay(dialect.parse(json.dumps(body).encode()), model_id=None)


@dataclass(frozen=True, slots=True)
class Metered:
    usage: TokenUsage | None
    has_failed: bool


def meter(recording: Recording) -> Metered:
    dialect = DIALECTS[recording.dialect]
    if not recording.is_stream:
        reply = dialect.read_reply(recording.raw)
        return Metered(reply.usage, reply.failure is not None)
    machine = relay(dialect, recording)
    machine.feed(recording.raw)
    machine.end()
    return Metered(machine.state.usage, machine.state.failure is not None)


def buckets(usage: TokenUsage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {
        "input_uncached": usage.input,
        "cache_read": usage.cache_read,
        "cache_write_5m": usage.cache_write_5m,
        "cache_write_1h": usage.cache_write_1h,
        "output": usage.output,
        "reasoning": usage.reasoning,
    }


@pytest.mark.parametrize("recording", [one for one in SAME_ON_BOTH_SIDES if one.status == 200], ids=named)
def test_usage_is_what_the_provider_counted(recording: Recording) -> None:
    metered = meter(recording)
    if metered.has_failed:
        assert recording.usage is None or "midstream_error" in recording.features
    else:
        assert buckets(metered.usage) == recording.usage
