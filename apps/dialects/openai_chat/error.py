"""The event that ends a failed chat stream."""

from __future__ import annotations

import msgspec

from apps.core.errors import GatewayError
from apps.dialects.common.sse import frame_of
from apps.dialects.errors import openai_error


def error_event(error: GatewayError) -> bytes:
    """A chunk with `error` and nothing after it: `[DONE]` would look like a success."""
    return frame_of(b"", msgspec.json.encode({"error": openai_error(error)}))
