"""Which way a call takes: untouched where it can, translated where it must, refused before anything is held."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from apps.dialects import registry
from apps.dialects.passage import reachable
from apps.dialects.protocol import UnsupportedField
from apps.gateway.ways import Way, first_way
from apps.upstreams.rules import RouteSnapshot, order
from tests.gateway.rig import ACCOUNT_ID, CHAT, MODEL, Bench, route_of
from tests.gateway.telegraph import TELEGRAPH, ChatCaller, Telegraph


class Talkative(Telegraph):
    """A dialect that can say everything."""

    name = "talkative"

    def write_conversation(self, conversation: Any, **facts: Any) -> bytes:
        return json.dumps({"spoke": self.name, **facts}).encode()


class Strict(Talkative):
    """Messages, which must name a maximum."""

    name = "anthropic-messages"


@pytest.fixture(autouse=True)
def adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.CALLERS, "openai-chat", ChatCaller())
    for upstream in (Telegraph(), Talkative(), Strict()):
        monkeypatch.setitem(registry.UPSTREAMS, upstream.name, upstream)


def first(*routes: RouteSnapshot, prefers: tuple[str, ...] = ("openai-chat",), **fields: Any) -> Way:
    request = Bench(**fields).request
    model = replace(MODEL, dialects=prefers)
    way, able = first_way(routes, model=model, dialect=CHAT, request=request, account_tag=ACCOUNT_ID.hex)
    assert able[0] is way.route
    return way


def test_a_caller_is_passed_through_wherever_its_own_dialect_is_spoken() -> None:
    way = first(route_of(TELEGRAPH, "openai-chat"), prefers=(TELEGRAPH, "openai-chat"))
    assert (way.passage.spoken, way.passage.is_translated) == ("openai-chat", False)


def test_otherwise_the_models_preference_decides_what_is_spoken() -> None:
    route = route_of(TELEGRAPH, "talkative")
    assert first(route, prefers=("talkative", TELEGRAPH)).passage.spoken == "talkative"
    assert first(route, prefers=(TELEGRAPH,)).passage.spoken == TELEGRAPH
    assert first(route).passage.spoken == TELEGRAPH


def test_what_one_dialect_cannot_say_another_of_the_route_may() -> None:
    assert first(route_of(TELEGRAPH, "talkative"), stop=["END"]).passage.spoken == "talkative"


def test_what_one_route_cannot_say_another_may() -> None:
    way = first(route_of(TELEGRAPH, key="a"), route_of("talkative", key="b"), stop=["END"])
    assert (way.route.key, way.passage.spoken) == ("b", "talkative")


def test_what_no_route_can_say_is_refused_by_the_callers_name_for_it() -> None:
    with pytest.raises(UnsupportedField) as refused:
        first(route_of(TELEGRAPH), stop=["END"])
    assert refused.value.param == "stop"


def test_a_translated_body_is_written_once_unless_its_maximum_is_lowered() -> None:
    way = first(route_of(TELEGRAPH), max_tokens=500)
    assert way.body(max_tokens=None) is way.body(max_tokens=None)
    assert json.loads(way.body(max_tokens=None)) == {"to": "theirs", "most": None, "for": ACCOUNT_ID.hex, "text": "Hi"}
    assert json.loads(way.body(max_tokens=40))["most"] == 40


def test_messages_name_the_models_maximum_where_the_caller_named_none() -> None:
    assert json.loads(first(route_of("anthropic-messages")).body(max_tokens=None))["max_tokens"] == 128_000
    assert json.loads(first(route_of("anthropic-messages")).body(max_tokens=40))["max_tokens"] == 40
    assert json.loads(first(route_of("anthropic-messages"), max_tokens=9).body(max_tokens=None))["max_tokens"] is None


def keys(*routes: RouteSnapshot, dialect: str = "openai-chat", session_id: str = "s") -> list[str]:
    ordered = order(routes, dialect=dialect, reachable=reachable(dialect), session_id=session_id, spread=0)
    return [route.key for route in ordered]


def test_of_one_priority_the_callers_own_dialect_comes_first_whatever_the_weights() -> None:
    foreign = replace(route_of(TELEGRAPH, key="foreign"), weight=10_000)
    own = route_of("openai-chat", key="own")
    assert {tuple(keys(foreign, own, session_id=str(n))) for n in range(50)} == {("own", "foreign")}


def test_a_smaller_priority_comes_before_the_callers_own_dialect() -> None:
    own = route_of("openai-chat", key="own", priority=1)
    assert keys(own, route_of(TELEGRAPH, key="foreign")) == ["foreign", "own"]


def test_images_are_never_translated() -> None:
    assert reachable("openai-images") == {"openai-images"}
    assert keys(route_of(TELEGRAPH), route_of("openai-images", key="own"), dialect="openai-images") == ["own"]
