"""The dialects that both sides may speak, and how they are found."""

from __future__ import annotations

from apps.dialects.registry import BY_ENDPOINT, DIALECTS


def test_dialects_are_found_by_name_and_by_endpoint() -> None:
    assert {
        name: (dialect.endpoint, dialect.upstream_path, dialect.is_anthropic) for name, dialect in DIALECTS.items()
    } == {
        "openai-chat": ("chat", "/chat/completions", False),
        "openai-responses": ("responses", "/responses", False),
        "openai-images": ("images", "/images/generations", False),
        "anthropic-messages": ("messages", "/v1/messages", True),
    }
    assert list(BY_ENDPOINT) == ["chat", "responses", "images", "messages"]
    assert all(BY_ENDPOINT[dialect.endpoint] is dialect for dialect in DIALECTS.values())
