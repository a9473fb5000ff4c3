"""Canonical usage out of a Responses `usage` object."""

from __future__ import annotations

from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.dialects.common.metering import count, inclusive_usage, is_nonsense, members

BILLED_CALLS: Final = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "x_search_call", "collections_search_call"}
)
"""Output items of tools that providers charge for by the call."""
_WEB_SEARCH: Final = "web_search_call"
_SEARCHES: Final = frozenset({None, "search"})
"""Actions of a web search that are charged; opening a page that it found is not."""


def read_response_usage(response: dict[str, Any]) -> TokenUsage | None:
    """Meter a whole response: its usage object, and the calls of hosted tools among its items."""
    usage = response.get("usage")
    return read_usage(usage, server_tool_requests=count_hosted(response))


def read_usage(raw: object, *, server_tool_requests: int = 0) -> TokenUsage | None:
    """Meter one usage object; None where it does not count both input and output, or less than nothing.

    Shape:  {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 7}
            -> input 40, cache_read 60, output 7
    Input includes cached and written tokens, output includes reasoning, at every provider. What was written for 12
    hours counts as the long-lived kind, which is the dearer one.
    """
    prompt = count(raw, "input_tokens")
    output = count(raw, "output_tokens")
    if not isinstance(raw, dict) or prompt is None or output is None or is_nonsense(raw):
        return None
    details = raw.get("input_tokens_details")
    output_details = raw.get("output_tokens_details")
    written_details = details.get("cache_write_tokens_details") if isinstance(details, dict) else None
    return inclusive_usage(
        prompt=prompt,
        output=output,
        cached=count(details, "cached_tokens") or 0,
        written=count(details, "cache_write_tokens") or 0,
        written_long=count(written_details, "ttl_12h_tokens") or 0,
        reasoning=count(output_details, "reasoning_tokens") or 0,
        image_input=count(details, "image_tokens") or 0,
        image_output=count(output_details, "image_tokens") or 0,
        server_tool_requests=server_tool_requests,
    )


def count_hosted(response: dict[str, Any]) -> int:
    """Calls of hosted tools that the provider charges for, by its own count where it gives one.

    Shape:  {"output": [{"type": "web_search_call"}], "tool_usage": {"web_search": {"num_requests": 1}}}  ->  1
            {"usage": {"num_server_side_tools_used": 6}}  ->  6 (xAI)
    """
    searches = calls = 0
    for item in members(response, "output"):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == _WEB_SEARCH:
            action = item.get("action")
            searches += (action.get("type") if isinstance(action, dict) else None) in _SEARCHES
        elif kind in BILLED_CALLS:
            calls += 1
    tool_usage = response.get("tool_usage")
    counted = count(tool_usage.get("web_search") if isinstance(tool_usage, dict) else None, "num_requests")
    total = calls + (searches if counted is None else counted)
    return max(total, count(response.get("usage"), "num_server_side_tools_used") or 0)


def render_usage(usage: TokenUsage) -> dict[str, Any]:
    """Usage as this dialect shows it, for a reply whose own never came or was counted in another dialect."""
    details: dict[str, Any] = {
        "cached_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write_5m + usage.cache_write_1h,
    }
    if usage.cache_write_1h:
        details["cache_write_tokens_details"] = {
            "ttl_30m_tokens": usage.cache_write_5m,
            "ttl_12h_tokens": usage.cache_write_1h,
        }
    output_details = {"reasoning_tokens": usage.reasoning}
    if usage.image_input:
        details["image_tokens"] = usage.image_input
    if usage.image_output:
        output_details["image_tokens"] = usage.image_output
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": details,
        "output_tokens": usage.output,
        "output_tokens_details": output_details,
        "total_tokens": usage.total,
    }
