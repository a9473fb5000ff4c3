"""`X-Hypereal-Cache: true` asks for prompt caching; where that is done depends on the model, and who did not ask is
left alone."""

from __future__ import annotations

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, MESSAGES
from tests.flows.rig import Person
from tests.flows.upstream import served

ASKED = {"x_hypereal_cache": "true", "x_session_id": "session-1"}


def test_claude_is_told_a_breakpoint(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES))
    assert alice.call(MESSAGES.path, MESSAGES.body(), **ASKED).status == 200
    assert alice.call(MESSAGES.path, MESSAGES.body()).status == 200
    assert [call.json.get("cache_control") for call in script.calls] == [{"type": "ephemeral"}, None]


def test_a_model_that_caches_by_itself_gets_one_key_for_the_session(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT))
    for headers in (ASKED, ASKED, {"x_session_id": "session-1"}):
        assert alice.call(CHAT.path, CHAT.body(cache_control={"type": "ephemeral"}), **headers).status == 200
    assert alice.call(CHAT.path, CHAT.body(), x_session_id="session-1").status == 200
    *keys, unasked = [call.json.get("prompt_cache_key") for call in script.calls]
    assert (len(set(keys)), str(keys[0]).endswith(":session-1"), unasked) == (1, True, None)
    assert not any("cache_control" in call.json for call in script.calls)
