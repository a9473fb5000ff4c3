"""What providers of other protocols sealed goes to no provider of this one; what its own sealed goes back untouched."""

from __future__ import annotations

import json
from typing import Any

from apps.dialects.openai_chat.foreign import without_foreign, without_reasoning
from apps.dialects.protocol import Request
from tests.dialects.bodies import parse

OURS = {"type": "reasoning.text", "text": "hm", "signature": "Eq=", "format": "anthropic-claude-v1", "id": "hypereal."}
THEIRS = {"type": "reasoning.text", "text": "hm", "signature": "Eq=", "format": "anthropic-claude-v1"}
OF_CALL = {"type": "reasoning.encrypted", "data": "CiQ=", "format": "google-gemini-v1", "id": "hypereal.c1"}
EXTRA = {"google": {"thought_signature": "CiQ="}}
USER = {"role": "user", "content": 'Say "hypereal."'}


def call(id_: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


def said(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "4", "reasoning_content": "hm", **more}


def request(*messages: dict[str, Any]) -> Request:
    return parse("chat", messages=list(messages))


def messages(request: Request) -> Any:
    return json.loads(bytes(request.fields["messages"]))


def test_our_entries_are_left_out_and_named_and_those_of_the_upstream_stay() -> None:
    asked = without_foreign(request(USER, said(reasoning_details=[OURS, THEIRS]), said(reasoning_details=[OURS])))
    assert messages(asked) == [USER, said(reasoning_details=[THEIRS]), said()]
    assert asked.adapted == ("messages[1] reasoning: left out", "messages[2] reasoning: left out")


def test_a_signature_that_a_call_repeats_goes_with_its_entry() -> None:
    calls = [call("c1", extra_content=EXTRA), call("c2", extra_content=EXTRA)]
    asked = without_foreign(request(USER, said(reasoning_details=[OF_CALL], tool_calls=calls)))
    assert messages(asked) == [USER, said(tool_calls=[call("c1"), call("c2", extra_content=EXTRA)])]


def test_a_request_without_anything_of_ours_is_the_same_object() -> None:
    for history in ([USER], [said(reasoning_details=[THEIRS])], [USER, said(reasoning_details="odd")]):
        asked = request(*history)
        assert without_foreign(asked) is asked


def test_on_demand_all_sealed_reasoning_is_forgotten() -> None:
    asked = without_reasoning(request(USER, said(reasoning_details=[THEIRS]), said()))
    assert messages(asked) == [USER, said(), said()]
    assert without_reasoning(asked) is asked
