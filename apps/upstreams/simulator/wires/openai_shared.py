"""What OpenAI's dialects share: errors, and the counting of tools."""

from __future__ import annotations

from typing import Any, Final

from apps.upstreams.simulator import reading
from apps.upstreams.simulator.prompt import Context, Refusal, ToolChoice

_TYPES: Final = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}

FINGERPRINT: Final = "fp_hypereal_simulator"


def error(refusal: Refusal) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    kind, code = _TYPES.get(refusal.status, ("invalid_request_error" if refusal.status < 500 else "server_error", None))
    return {
        "error": {
            "message": refusal.message,
            "type": kind,
            "param": refusal.param,
            "code": refusal.code or code,
        }
    }


def add_tools(context: Context, tools: list[dict[str, Any]]) -> None:
    """Tools stand first in what the model reads."""
    for tool in tools:
        context.add_bytes(reading.canonical(tool))
        context.end_block(reading.cache_ttl(tool, "tools"))


def choice(value: Any, *, name: str | None, is_parallel: bool, has_tools: bool) -> ToolChoice:
    """`auto`, `none`, `required`, or an object that names a function (`name`, as its dialect spells it)."""
    if value is None or value == "auto":
        return ToolChoice(is_parallel=is_parallel)
    if value == "none":
        return ToolChoice("none")
    if not has_tools:
        raise Refusal("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    if value == "required":
        return ToolChoice("required", is_parallel=is_parallel)
    if isinstance(value, dict):
        if name:
            return ToolChoice("required", name, is_parallel=is_parallel)
        if value.get("type") == "allowed_tools" or "allowed_tools" in value:
            mode = reading.mapping(value.get("allowed_tools", value)).get("mode")
            return ToolChoice("required" if mode == "required" else "auto", is_parallel=is_parallel)
        return ToolChoice(is_parallel=is_parallel)
    raise Refusal(f"Invalid value: '{value}'. Supported: 'none', 'auto', and 'required'.", param="tool_choice")
