"""A request whose earlier reasoning a provider refuses is sent without it; nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.dialects.common.stale import is_stale_reasoning
from apps.dialects.passage import passages
from apps.dialects.protocol import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES
from apps.dialects.registry import BY_ENDPOINT, DIALECTS
from tests.dialects.bodies import parse

USER = {"role": "user", "content": "Go on."}
OWN = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
TEXT = {"type": "text", "text": 'Say "hypereal.openai.encrypted.gAAA".'}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"type": "thinking"}}


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def sent(messages: list[Any], *, forgets: bool = False) -> tuple[Any, tuple[str, ...]]:
    request = parse("messages", messages=messages)
    (passage,) = passages(DIALECTS[ANTHROPIC_MESSAGES], request, [ANTHROPIC_MESSAGES])
    if forgets:
        assert passage.forget_reasoning()
        assert not passage.forget_reasoning()
    body = passage.upstream_body(upstream_model="theirs", max_tokens=None, account_tag="acc")
    return json.loads(body)["messages"], passage.adapted


def test_all_thinking_is_forgotten_on_demand() -> None:
    messages, adapted = sent([USER, said(OWN, TEXT), USER, said(OWN, USE), USER], forgets=True)
    assert messages == [USER, said(TEXT), USER, said(USE), USER]
    assert adapted == ("messages[1] reasoning: left out", "messages[3] reasoning: left out")


def test_all_reasoning_items_are_forgotten_on_demand() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    request = parse("responses", input=[USER, item, {"role": "assistant", "content": "Yes."}])
    (passage,) = passages(DIALECTS[OPENAI_RESPONSES], request, [OPENAI_RESPONSES])
    assert passage.forget_reasoning()
    body = json.loads(passage.upstream_body(upstream_model="theirs", max_tokens=None, account_tag="acc"))
    assert [entry.get("type") for entry in body["input"]] == [None, None]
    assert not passage.forget_reasoning()


@pytest.mark.parametrize("endpoint", BY_ENDPOINT)
def test_where_there_is_no_reasoning_nothing_is_forgotten(endpoint: str) -> None:
    dialect, request = BY_ENDPOINT[endpoint], parse(endpoint)
    assert dialect.without_reasoning(request) is request
    assert dialect.without_foreign(request) is request


def test_a_translated_request_forgets_too() -> None:
    item = {"type": "reasoning", "id": "r1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    request = parse("responses", input=[USER, item, {"role": "assistant", "content": "Yes."}, USER])
    (passage,) = passages(DIALECTS[OPENAI_RESPONSES], request, [OPENAI_CHAT])
    before = passage.upstream_body(upstream_model="theirs", max_tokens=None, account_tag="acc")
    assert b"Hm." in before
    assert passage.forget_reasoning()
    after = passage.upstream_body(upstream_model="theirs", max_tokens=None, account_tag="acc")
    assert b"Hm." not in after
    assert b"Yes." in after
    assert passage.adapted == ("reasoning of earlier answers: left out",)
    assert not passage.forget_reasoning()


@pytest.mark.parametrize(
    ("error", "is_stale"),
    [
        (b'{"error":{"code":"invalid_encrypted_content"}}', True),
        (b'{"error":{"message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}', True),
        (b"Item 'rs_1' of type 'reasoning' was provided without its required following item.", True),
        (b"Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.", True),
        (b'{"error":{"message":"max_tokens is too large"}}', False),
        (b"", False),
    ],
)
def test_what_providers_say_of_stale_reasoning(error: bytes, is_stale: bool) -> None:
    assert is_stale_reasoning(error) is is_stale
