"""A caller asks for caching without saying where: breakpoints where they cost something, a key where they do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.dialects.common.caching import with_caching
from apps.dialects.passage import passages
from apps.dialects.protocol import ANTHROPIC_MESSAGES, OPENAI_CHAT
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import parse

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def sent(endpoint: str, spoken: str, *, writes_cache: bool, is_asked: bool = True, **fields: Any) -> dict[str, Any]:
    request = with_caching(
        parse(endpoint, **fields), is_asked=is_asked, session_id="session-1", writes_cache=writes_cache
    )
    (passage,) = passages(BY_ENDPOINT[endpoint], request, [spoken], writes_cache=writes_cache)
    decoded: dict[str, Any] = json.loads(
        passage.upstream_body(upstream_model="theirs", max_tokens=None, account_tag="acc")
    )
    return decoded


def test_anthropic_is_told_a_breakpoint_where_the_caller_set_none() -> None:
    assert sent("messages", ANTHROPIC_MESSAGES, writes_cache=True)["cache_control"] == MARK
    part = {"type": "text", "text": "Hi", "cache_control": HOUR}
    marked = sent("messages", ANTHROPIC_MESSAGES, writes_cache=True, messages=[{"role": "user", "content": [part]}])
    assert "cache_control" not in marked
    own = sent("messages", ANTHROPIC_MESSAGES, writes_cache=True, cache_control=HOUR)
    assert own["cache_control"] == HOUR


def test_what_stays_the_same_from_call_to_call_is_marked_too() -> None:
    tools = [{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": {}}]
    later = {"name": "c", "input_schema": {}, "defer_loading": True}
    for system in ("Be brief.", [{"type": "text", "text": "Be brief."}]):
        marked = sent("messages", ANTHROPIC_MESSAGES, writes_cache=True, system=system, tools=[*tools, later])
        assert marked["cache_control"] == MARK
        assert marked["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
        # A tool that is loaded later is not part of the prefix, and may carry no mark.
        assert marked["tools"] == [tools[0], {**tools[1], "cache_control": MARK}, later]
    chat_tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in "ab"]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    written = sent("chat", ANTHROPIC_MESSAGES, writes_cache=True, messages=messages, tools=chat_tools)
    assert [tool.get("cache_control") for tool in written["tools"]] == [None, MARK]
    assert [block.get("cache_control") for block in written["system"]] == [MARK]


@pytest.mark.parametrize("system", ["", [], [{"type": "text", "text": ""}], [{"type": "text", "text": 3}]])
def test_what_can_carry_no_mark_stays_as_it_came(system: Any) -> None:
    marked = sent("messages", ANTHROPIC_MESSAGES, writes_cache=True, system=system, tools=[])
    assert (marked["cache_control"], marked["system"], marked["tools"]) == (MARK, system, [])


def test_a_chat_caller_reaches_anthropic_with_a_breakpoint_too() -> None:
    asked: list[dict[str, Any]] = [{}, {"cache_control": MARK}]
    for fields in asked:
        written = sent("chat", ANTHROPIC_MESSAGES, writes_cache=True, **fields)
        assert written["messages"][-1]["content"][-1]["cache_control"] == MARK


def test_a_provider_that_caches_by_itself_gets_the_sessions_key_and_no_marks() -> None:
    asked: list[dict[str, Any]] = [{}, {"cache_control": MARK}]
    for fields in asked:
        written = sent("chat", OPENAI_CHAT, writes_cache=False, **fields)
        assert "cache_control" not in written
        assert written["prompt_cache_key"] == "acc:session-1"
    translated = sent("messages", OPENAI_CHAT, writes_cache=False, system=[{"type": "text", "text": "S"}])
    assert translated["prompt_cache_key"] == "acc:session-1"
    assert sent("responses", "openai-responses", writes_cache=False)["prompt_cache_key"] == "acc:session-1"


def test_a_callers_own_key_stays() -> None:
    assert sent("chat", OPENAI_CHAT, writes_cache=False, prompt_cache_key="k")["prompt_cache_key"] == "acc:k"


@pytest.mark.parametrize("endpoint", ["chat", "messages", "responses"])
def test_who_did_not_ask_is_not_changed(endpoint: str) -> None:
    request = parse(endpoint)
    assert with_caching(request, is_asked=False, session_id="session-1", writes_cache=True) is request
    assert with_caching(request, is_asked=False, session_id="session-1", writes_cache=False) is request
