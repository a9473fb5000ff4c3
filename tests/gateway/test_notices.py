"""Names that nobody knew yet: told once, whoever says them, and never in the way of a call."""

from __future__ import annotations

import json

import pytest

from apps.dialects.registry import BY_ENDPOINT
from apps.gateway import notices as module
from apps.gateway.notices import Notices
from tests.dialects.bodies import ENDPOINTS, body
from tests.gateway.rig import head


class Desk:
    """An operator's desk."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, str]] = []
        self.notices = Notices(lambda *facts: self.told.append(facts))

    def ask(self, endpoint: str, raw: bytes, **headers: str) -> None:
        dialect = BY_ENDPOINT[endpoint]
        self.notices.look(head(**headers), dialect.parse(raw), dialect=dialect)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_new_field_is_told_once(endpoint: str) -> None:
    desk = Desk()
    for _ in range(3):
        desk.ask(endpoint, body(endpoint, hologram={"depth": 3}))
    model = json.loads(body(endpoint))["model"]
    assert desk.told == [("field", BY_ENDPOINT[endpoint].name, "hologram", model)]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_everybody_says_is_no_news(endpoint: str) -> None:
    desk = Desk()
    desk.ask(endpoint, body(endpoint, stream=True, user="u1", service_tier="auto"))
    if endpoint == "messages":
        # A coding agent's body and head.
        desk.ask(
            endpoint,
            body(
                endpoint,
                system=[{"type": "text", "text": "Be brief."}],
                tools=[{"name": "Bash", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}],
                thinking={"type": "adaptive"},
                context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
                output_config={"effort": "high"},
                metadata={"user_id": "{}"},
            ),
            anthropic_beta="claude-code-20250219,context-1m-2025-08-07,interleaved-thinking-2025-05-14,"
            "thinking-token-count-2026-05-13,context-management-2025-06-27,prompt-caching-scope-2026-01-05,"
            "mid-conversation-system-2026-04-07,effort-2025-11-24,redact-thinking-2026-02-12",
        )
    assert [told for told in desk.told if told[2] != "user"] == []


def test_new_tools_and_betas_are_told_too() -> None:
    desk = Desk()
    tools = [{"type": "teleport_20270101", "name": "teleport"}, {"name": "mine", "input_schema": {}}]
    for _ in range(2):
        desk.ask("messages", body("messages", tools=tools), anthropic_beta="effort-2025-11-24, telepathy-2027-01-01")
    assert [told[:3] for told in desk.told] == [
        ("tool", "anthropic-messages", "teleport_20270101"),
        ("beta", "anthropic-messages", "telepathy-2027-01-01"),
    ]
    desk.ask("responses", body("responses", tools=[{"type": "hologram"}, {"type": "function", "name": "f"}]))
    desk.ask("chat", body("chat", tools=[{"type": "hologram"}, {"type": "function", "function": {"name": "f"}}]))
    assert [told[:3] for told in desk.told[2:]] == [
        ("tool", "openai-responses", "hologram"),
        ("tool", "openai-chat", "hologram"),
    ]


def test_who_makes_names_up_is_not_listened_to_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 10)
    desk = Desk()
    for number in range(50):
        desk.ask("messages", body("messages", **{f"field{number}": 1}), anthropic_beta=f"beta{number}")
    assert len(desk.told) == 10


def test_a_name_is_shown_as_one_printable_line() -> None:
    desk = Desk()
    desk.ask("chat", body("chat", **{"a\nb\u2028" + "c" * 500: 1}))
    assert [told[2] for told in desk.told] == ["ab" + "c" * 96]
