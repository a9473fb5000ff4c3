"""The event that ends a failed Messages stream."""

from __future__ import annotations

import msgspec

from apps.core.errors import GatewayError
from apps.dialects.common.sse import frame_of
from apps.dialects.errors import anthropic_error


def error_event(error: GatewayError, *, request_id: str) -> bytes:
    return frame_of(b"error", msgspec.json.encode(anthropic_error(error, request_id=request_id)))
