"""Replies that a provider keeps: only where its route allows it, only for the account that made them, on that route."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, RESPONSES, Tokens
from tests.flows.rig import Operator, Person
from tests.flows.upstream import Answer, Received, Script, plain, streamed

TOKENS = Tokens(input=1_200, output=300)


def named(name: str) -> Callable[[Received], Answer]:
    """A provider whose replies and items are called after it."""

    def answer(received: Received) -> Answer:
        if received.json.get("stream"):
            return streamed([event.replace(b"resp_1", name.encode()) for event in RESPONSES.events(TOKENS)])
        return plain(
            RESPONSES.reply(TOKENS).replace(b"resp_1", name.encode()).replace(b"msg_1", b"msg_" + name.encode())
        )

    return answer


AddKeeper = Callable[..., Script]


@pytest.fixture
def add_keeper(operator: Operator, add_upstream: AddUpstream) -> AddKeeper:
    """`add_keeper("resp_a")`: a provider on whose route replies may be stored."""

    def add(name: str, **options: Any) -> Script:
        script = add_upstream(RESPONSES, named(name), **options)
        operator.run("set_route", script.route_id, "--keep-state")
        operator.tell_server()
        return script

    return add


@pytest.fixture
def keeper(add_keeper: AddKeeper) -> Script:
    return add_keeper("resp_a")


def ask(person: Person, **fields: Any) -> Any:
    return person.call(RESPONSES.path, RESPONSES.body("Hi", **fields))


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_a_stored_reply_can_be_built_on(alice: Person, keeper: Script, is_stream: bool) -> None:
    assert ask(alice, store=True, stream=is_stream).status == 200
    reply = ask(alice, previous_response_id="resp_a")
    assert reply.status == 200
    first, second = keeper.calls
    assert (first.json["store"], second.json["store"]) == (True, False)
    assert second.json["previous_response_id"] == "resp_a"


def test_the_official_sdk_builds_on_a_stored_reply(alice: Person, keeper: Script) -> None:
    with alice.openai() as client:
        first = client.responses.create(model=RESPONSES.model, input="Hi", store=True)
        second = client.responses.create(model=RESPONSES.model, input="And?", previous_response_id=first.id)
    assert second.output_text
    assert keeper.calls[1].json["previous_response_id"] == first.id


def test_its_items_can_be_referred_to(alice: Person, keeper: Script) -> None:
    ask(alice, store=True)
    item = {"type": "item_reference", "id": "msg_resp_a"}
    assert ask(alice, input=[item, {"role": "user", "content": "And?"}]).status == 200
    assert keeper.calls[1].json["input"][0] == item


def test_what_nobody_asked_to_store_is_not_there(alice: Person, keeper: Script) -> None:
    for store in (None, False):
        ask(alice, store=store)
    assert ask(alice, previous_response_id="resp_a").refusal == (404, "not_found")
    assert [call.json["store"] for call in keeper.calls] == [False, False]


def test_nobody_else_finds_it(alice: Person, charlie: Person, keeper: Script) -> None:
    ask(alice, store=True)
    refused = ask(charlie, previous_response_id="resp_a")
    assert refused.refusal == (404, "not_found")
    assert refused.error["param"] == "previous_response_id"
    refused = ask(charlie, input=[{"type": "item_reference", "id": "msg_resp_a"}])
    assert (refused.refusal, refused.error["param"]) == ((404, "not_found"), "input[0].id")
    assert len(keeper.calls) == 1
    charlie.assert_paid_nothing()


def test_another_key_of_the_account_finds_it(alice: Person, keeper: Script) -> None:
    ask(alice, store=True)
    assert ask(alice.another_key(), previous_response_id="resp_a").status == 200


def test_it_keeps_its_route(alice: Person, add_keeper: AddKeeper) -> None:
    first = add_keeper("resp_a", priority=1)
    ask(alice, store=True)
    second = add_keeper("resp_b", priority=0)
    ask(alice, store=True)
    for _ in range(3):
        assert ask(alice, previous_response_id="resp_a").status == 200
        assert ask(alice, previous_response_id="resp_b").status == 200
    assert [len(script.calls) for script in (first, second)] == [4, 4]
    mixed = [{"type": "item_reference", "id": "msg_resp_b"}]
    assert ask(alice, previous_response_id="resp_a", input=mixed).refusal == (404, "not_found")


def test_it_is_gone_with_its_route(alice: Person, operator: Operator, keeper: Script) -> None:
    ask(alice, store=True)
    for option in ("--disable", "--no-keep-state"):
        operator.run("set_route", keeper.route_id, option)
        operator.tell_server()
        assert ask(alice, previous_response_id="resp_a").refusal == (404, "not_found")
        operator.run("set_route", keeper.route_id, "--enable", "--keep-state")
        operator.tell_server()
    assert ask(alice, previous_response_id="resp_a").status == 200


def test_a_route_stores_nothing_unless_its_operator_allows_it(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(RESPONSES, named("resp_a"))
    refused = ask(alice, store=True)
    assert (refused.refusal, refused.error["param"]) == ((400, "unsupported_field"), "store")
    assert script.calls == []
    alice.assert_paid_nothing()


def test_of_several_routes_one_that_stores_is_taken(
    alice: Person, add_upstream: AddUpstream, add_keeper: AddKeeper
) -> None:
    plain_one = add_upstream(RESPONSES, named("resp_b"), priority=0)
    keeper = add_keeper("resp_a", priority=5)
    ask(alice, store=True)
    ask(alice)
    assert [len(script.calls) for script in (keeper, plain_one)] == [1, 1]


def test_what_is_kept_counts_into_the_bound(operator: Operator, keeper: Script) -> None:
    """What the provider reads again is held for, as it was last billed: 1,200 and 300 tokens."""
    alice = operator.person("alice")
    ask(alice, store=True, max_output_tokens=100)
    ask(alice, max_output_tokens=100)
    body = json.dumps(RESPONSES.body("Hi", max_output_tokens=100, previous_response_id="resp_a"))
    ask(alice, max_output_tokens=100, previous_response_id="resp_a")
    built_on, plain_one, _ = [
        operator.run("explain", record["request_id"])["credits_held"] for record in alice.records()
    ]
    extra_text = len(body) - len(json.dumps(RESPONSES.body("Hi", max_output_tokens=100)))
    assert built_on - plain_one == bill(RESPONSES.model, input=1_500 + extra_text // 2, output=0)


def test_another_dialect_knows_no_stored_replies(alice: Person, keeper: Script, add_upstream: AddUpstream) -> None:
    ask(alice, store=True)
    add_upstream(CHAT, plain(b"{}"))
    assert ask(alice, model=CHAT.model, previous_response_id="resp_a").refusal == (404, "not_found")
    assert ask(alice, model=CHAT.model, store=True).refusal == (400, "unsupported_field")
    assert alice.call(CHAT.path, CHAT.body(previous_response_id="resp_a")).refusal == (404, "not_found")
