"""What requests of each dialect are known to say, as of 2026-11. Anything else passes, is metered by what the upstream
reports, and is shown to the operator the first time: it may want a price or a bound.

Sources: the providers' references and SDK types (openai 3.54, anthropic 2.12), and what coding agents send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Raw

from apps.dialects.protocol import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_IMAGES, OPENAI_RESPONSES

_REFUSED_ANYWHERE: Final = {
    "service_tier", "speed", "inference_geo", "background", "models", "fallbacks", "provider", "route", "plugins",
    "transforms", "preset", "store", "previous_response_id", "conversation", "prompt", "container", "file_ids",
    "vector_store_ids", "mcp_servers",
}  # fmt: skip
_OPENAI: Final = {
    "model", "stream", "stream_options", "temperature", "top_p", "user", "safety_identifier", "metadata",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "parallel_tool_calls", "tools", "tool_choice",
    "top_logprobs", "cache_control", "reasoning", "verbosity", "moderation",
}  # fmt: skip

KNOWN_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    OPENAI_CHAT: frozenset(
        _REFUSED_ANYWHERE
        | _OPENAI
        | {
            "messages", "max_tokens", "max_completion_tokens", "n", "stop", "seed", "logprobs", "logit_bias",
            "presence_penalty", "frequency_penalty", "repetition_penalty", "response_format", "functions",
            "function_call", "modalities", "image_config", "audio", "prediction", "web_search_options",
            "search_parameters", "enable_search", "search_options", "data_sources", "cached_content",
            "reasoning_effort", "include_reasoning", "thinking", "thinking_budget", "enable_thinking", "top_k", "min_p",
            "top_a", "usage", "session_id", "trace", "debug", "extra_body",
        }
    ),
    OPENAI_RESPONSES: frozenset(
        _REFUSED_ANYWHERE
        | _OPENAI
        | {
            "input", "instructions", "max_output_tokens", "max_tool_calls", "include", "text", "truncation",
            "client_metadata", "search_parameters", "prediction", "audio", "context_management", "stop",
            "presence_penalty", "frequency_penalty",
        }
    ),
    OPENAI_IMAGES: frozenset(
        _REFUSED_ANYWHERE
        | {
            "model", "prompt", "n", "size", "quality", "background", "moderation", "output_compression",
            "output_format", "partial_images", "response_format", "stream", "style", "user", "input_fidelity", "image",
            "images", "image_url", "mask",
        }
    ),
    ANTHROPIC_MESSAGES: frozenset(
        _REFUSED_ANYWHERE
        | {
            "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_p",
            "top_k", "tools", "tool_choice", "thinking", "context_management", "output_config", "output_format",
            "cache_control", "fallback", "fallback_model", "fallback_models", "advisor", "diagnostics",
        }
    ),
}  # fmt: skip

KNOWN_TOOLS: Final = (
    "function", "custom", "namespace", "local_shell", "apply_patch", "tool_search", "bash_", "text_editor_",
    "computer_", "memory_", "web_search_", "web_search", "image_generation_preview",
)  # fmt: skip
"""Kinds of tools that run at the caller, or have a meter; by how they begin."""

KNOWN_BETAS: Final = (
    "advanced-tool-use-", "advisor-tool-", "afk-mode-", "claude-code-", "code-execution-", "compact-",
    "computer-use-", "context-1m-", "context-management-", "effort-", "extended-cache-ttl-", "fast-mode-",
    "files-api-", "fine-grained-tool-streaming-", "interleaved-thinking-", "mcp-client-", "mcp-servers-",
    "message-batches-", "mid-conversation-system-", "model-context-window-exceeded-", "oauth-", "output-128k-",
    "prompt-caching-", "prompt-caching-scope-", "redact-thinking-", "search-results-", "skills-",
    "structured-outputs-", "thinking-token-count-", "token-counting-", "token-efficient-tools-", "tool-examples-",
    "tool-search-tool-", "web-fetch-", "web-search-",
)  # fmt: skip
"""Names of Anthropic's betas, before their date."""


def unknown_fields(fields: Mapping[str, Raw], dialect: str) -> frozenset[str]:
    """Top-level names that this dialect is not known to have."""
    return frozenset(fields.keys() - KNOWN_FIELDS[dialect])


def unknown_tools(kinds: Iterable[str | None]) -> tuple[str, ...]:
    """Kinds of tools that nobody knew yet; a tool without a kind is the caller's own."""
    return tuple(kind for kind in kinds if kind is not None and not kind.startswith(KNOWN_TOOLS))


def unknown_betas(header: str) -> frozenset[str]:
    names = {name.strip() for name in header.split(",")} - {""}
    return frozenset(name for name in names if not name.startswith(KNOWN_BETAS))
