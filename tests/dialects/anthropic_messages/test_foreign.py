"""Thinking of other families does not reach Anthropic when a conversation comes back to it."""

from __future__ import annotations

import json
from typing import Any

from apps.dialects.anthropic_messages.sealed import UNSIGNED
from apps.dialects.hub.reasoning import Seal, wrap
from apps.dialects.protocol import Request
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import parse

FOREIGN = wrap(Seal("openai", "encrypted", "gAAA", "rs_1"))
OWN = {"type": "thinking", "thinking": "hm", "signature": "EqQB", "unknown": 1}
CALL = {"type": "tool_use", "id": "a", "name": "grep", "input": {"q": 1.50}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]}


def without_foreign(*content: dict[str, Any], **fields: Any) -> Request:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": list(content)}, RESULT]
    return BY_ENDPOINT["messages"].without_foreign(parse("messages", messages=messages, **fields))


def messages_of(request: Request) -> Any:
    return json.loads(bytes(request.fields["messages"]))


def test_what_another_family_sealed_is_left_out_and_named() -> None:
    request = without_foreign(
        {"type": "thinking", "thinking": "so", "signature": FOREIGN},
        {"type": "thinking", "thinking": "ah", "signature": UNSIGNED},
        {"type": "redacted_thinking", "data": FOREIGN},
        OWN,
        CALL,
    )
    assert messages_of(request)[1] == {"role": "assistant", "content": [OWN, CALL]}
    assert request.adapted == ("messages[1] reasoning: left out",)


def test_a_message_of_nothing_else_is_left_out_whole() -> None:
    request = without_foreign({"type": "redacted_thinking", "data": FOREIGN})
    assert [message["role"] for message in messages_of(request)] == ["user", "user"]


def test_a_conversation_of_anthropics_own_passes_as_it_is() -> None:
    request = parse(
        "messages", messages=[{"role": "assistant", "content": [OWN, {"type": "text", "text": "hypereal."}]}]
    )
    assert BY_ENDPOINT["messages"].without_foreign(request) is request
    talk = parse("messages", messages=[{"role": "user", "content": '"hypereal.openai.encrypted.x"'}])
    assert messages_of(BY_ENDPOINT["messages"].without_foreign(talk)) == messages_of(talk)


def test_a_text_that_quotes_a_seal_stays() -> None:
    quoted: dict[str, Any] = {"type": "tool_use", "id": "a", "name": "f", "input": {"data": FOREIGN}}
    blocks: list[dict[str, Any]] = [{"type": "something_new", "data": {"signature": FOREIGN}}, quoted]
    request = without_foreign(*blocks)
    assert messages_of(request)[1]["content"] == blocks
    assert request.adapted == ()


def test_a_budget_of_thinking_goes_with_the_thinking_of_the_turn_it_continues() -> None:
    thought = {"type": "thinking", "thinking": "so", "signature": FOREIGN}
    enabled = {"type": "enabled", "budget_tokens": 2048}
    request = without_foreign(thought, CALL, thinking=enabled)
    assert "thinking" not in request.fields
    assert request.adapted == ("messages[1] reasoning: left out", "thinking: left out")
    assert "thinking" in without_foreign(thought, CALL, thinking={"type": "adaptive"}).fields
    assert "thinking" in without_foreign(OWN, thought, CALL, thinking=enabled).fields
