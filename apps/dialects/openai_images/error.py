"""The event that ends a failed image stream."""

from __future__ import annotations

import msgspec

from apps.core.errors import GatewayError
from apps.dialects.common.sse import frame_of
from apps.dialects.errors import openai_error


def error_event(error: GatewayError) -> bytes:
    return frame_of(b"error", msgspec.json.encode({"type": "error", "error": openai_error(error)}))
