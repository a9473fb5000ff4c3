"""The events that end a failed Responses stream."""

from __future__ import annotations

import msgspec

from apps.core.errors import GatewayError
from apps.dialects.common.json_reply import ReplyFields
from apps.dialects.common.sse import frame_of
from apps.dialects.errors import openai_error


def error_events(error: GatewayError, *, response: ReplyFields, sequence_number: int) -> bytes:
    """`error`, at which SDKs raise, then `response.failed`, for which coding agents wait."""
    shown = openai_error(error)
    raised = {
        "type": "error",
        "sequence_number": sequence_number,
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "error": shown,
    }
    failed = {
        "type": "response.failed",
        "sequence_number": sequence_number + 1,
        "response": {
            "object": "response",
            "output": [],
            **response,
            "status": "failed",
            "error": {"code": error.code, "message": error.message},
        },
    }
    return frame_of(b"error", msgspec.json.encode(raised)) + frame_of(b"response.failed", msgspec.json.encode(failed))
