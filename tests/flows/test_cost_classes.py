"""What a request says that costs extra: refused by name until an operator prices it, then held for and billed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from apps.catalog.services import SHIPPED_CATALOG
from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, RESPONSES, Endpoint, Tokens
from tests.flows.rig import Operator, Person
from tests.flows.upstream import served

TOKENS = Tokens(input=1_000, output=400)
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)

Amend = Callable[..., None]


@pytest.fixture
def amend(operator: Operator, tmp_path: Path) -> Iterator[Amend]:
    """`amend("gpt-5-5", price_modifiers={…})`: the catalog with more said of a model, while the test runs."""

    def load(path: Path) -> None:
        operator.run("load_catalog", path)
        operator.tell_server()

    def change(model_id: str, *, bounds: dict[str, Any] | None = None, **fields: Any) -> None:
        catalog = json.loads(SHIPPED_CATALOG.read_text())
        (model,) = (model for model in catalog["models"] if model["id"] == model_id)
        model.update(fields)
        model["bounds"].update(bounds or {})
        path = tmp_path / "catalog.json"
        path.write_text(json.dumps(catalog))
        load(path)

    yield change
    load(SHIPPED_CATALOG)


@EACH
def test_a_price_modifier_is_refused_until_it_is_priced(
    alice: Person, add_upstream: AddUpstream, amend: Amend, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint, TOKENS))
    body = endpoint.body(service_tier="priority")
    refused = alice.call(endpoint.path, body)
    assert refused.refusal == (400, "unsupported_field")
    assert "`service_tier`" in refused.error["message"]
    alice.assert_paid_nothing()

    amend(endpoint.model, price_modifiers={"service_tier": {"priority": "1.75"}})
    reply = alice.call(endpoint.path, body)
    usual = bill(endpoint.model, input=TOKENS.input, output=TOKENS.output)
    cost = (usual * Decimal("1.75")).quantize(Decimal("0.000001"), ROUND_UP)
    assert (reply.status, reply.billing["credits_charged"]) == (200, cost)
    assert script.calls[-1].json["service_tier"] == "priority"
    assert "service_tier=priority: at 1.75 x the price" in reply.headers["x-hypereal-adapted"]
    record = alice.record_of(reply.headers["x-request-id"])
    assert "service_tier=priority: at 1.75 x the price" in record["adapted"]
    # Another word is still not priced, and who says nothing pays what everybody pays.
    assert alice.call(endpoint.path, endpoint.body(service_tier="flex")).refusal == (400, "unsupported_field")
    plain = alice.call(endpoint.path, endpoint.body())
    assert plain.billing["credits_charged"] == usual
    assert len(script.calls) == 2


def test_a_price_modifier_is_held_for(operator: Operator, add_upstream: AddUpstream, amend: Amend) -> None:
    add_upstream(CHAT, served(CHAT, Tokens(input=10, output=10)))
    amend(CHAT.model, price_modifiers={"service_tier": {"priority": "3"}})
    body = CHAT.body(max_tokens=2_000)
    alice = operator.person("alice", credits="0.5")
    assert alice.call(CHAT.path, body).status == 200
    assert alice.call(CHAT.path, {**body, "service_tier": "priority"}).refusal == (402, "insufficient_credits")


def test_what_changes_the_price_is_not_said_in_other_words(alice: Person, amend: Amend) -> None:
    """A translation may leave it out: then it would cost more and bring nothing."""
    amend(CHAT.model, price_modifiers={"service_tier": {"priority": "2"}})
    assert alice.call(RESPONSES.path, RESPONSES.body(model=CHAT.model, service_tier="priority")).status == 400
    assert alice.call(RESPONSES.path, RESPONSES.body(model=CHAT.model)).status == 200


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES], ids=lambda endpoint: endpoint.name)
def test_sound_is_refused_until_the_catalog_bounds_it(
    operator: Operator, add_upstream: AddUpstream, amend: Amend, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint, Tokens(input=100, output=10)))
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg" * 5_000, "format": "wav"}}
    content = [{"type": "text" if endpoint is CHAT else "input_text", "text": "Listen."}, sound]
    name = "messages" if endpoint is CHAT else "input"
    body = {
        "model": endpoint.model,
        name: [{"role": "user", "content": content}],
        **endpoint.at_most(100),
    }
    alice = operator.person("alice", credits="0.6" if endpoint is CHAT else "3")
    refused = alice.call(endpoint.path, body)
    assert refused.refusal == (400, "unsupported_field")
    assert refused.error["param"] == f"{name}[0].content[1].type"

    amend(endpoint.model, bounds={"audio_input_tokens": 3_000})
    assert alice.call(endpoint.path, body).status == 200
    assert script.calls[0].json[name][0]["content"][1] == sound
    # A part more is 3,000 tokens more, and too many.
    amend(endpoint.model, bounds={"audio_input_tokens": 30_000})
    assert alice.call(endpoint.path, body).refusal == (402, "insufficient_credits")


def test_reasoning_that_no_maximum_bounds_is_held_for(
    operator: Operator, add_upstream: AddUpstream, amend: Amend
) -> None:
    add_upstream(CHAT, served(CHAT, Tokens(input=10, output=20_100)))
    amend(CHAT.model, bounds={"reasoning_tokens": 20_000})
    real = bill(CHAT.model, input=10, output=20_100)
    poor = operator.person("alice", credits="0.5")
    refused = poor.call(CHAT.path, CHAT.body(max_tokens=100))
    assert refused.refusal == (402, "insufficient_credits")
    assert refused.error["hypereal"]["needed"] > bill(CHAT.model, input=0, output=20_100)
    rich = operator.person("bob", credits=5)
    reply = rich.call(CHAT.path, CHAT.body(max_tokens=100))
    assert (reply.billing["credits_charged"], "absorbed" in reply.billing) == (real, False)


def test_a_maximum_is_sent_under_the_name_that_the_model_knows(operator: Operator, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, served(CHAT, Tokens(input=10, output=10)), model="gpt-5-5")
    alice = operator.person("alice", credits=60)
    reply = alice.call(CHAT.path, CHAT.body(model="gpt-5-5"))
    told = int(reply.headers["x-hypereal-max-tokens"])
    sent = script.calls[0].json
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (told, False)
    # Whatever the caller calls it: the model refuses the other name.
    alice.call(CHAT.path, CHAT.body(model="gpt-5-5", max_tokens=90_000))
    sent = script.calls[1].json
    assert (sent["max_completion_tokens"] < 90_000, "max_tokens" in sent) == (True, False)


@pytest.mark.parametrize("mark", ['"1h"', '"\\u0031h"', '"1\\u0068"'])
def test_an_hours_cache_write_is_held_for_however_it_is_written(operator: Operator, mark: str) -> None:
    body = MESSAGES.body("word " * 2_000, max_tokens=10)
    system = '"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": %s}}]'
    needed = []
    for ttl in (mark, '"5m"'):
        alice = operator.person("alice", credits="0.000001")
        raw = json.dumps(body)[:-1] + ", " + system % ttl + "}"
        refused = alice.call(MESSAGES.path, raw.encode())
        assert refused.refusal == (402, "insufficient_credits")
        needed.append(refused.error["hypereal"]["needed"])
    # Twice the price of input, where the short write is one and a quarter; ten tokens of answer weigh little.
    assert Decimal("1.55") < needed[0] / needed[1] < Decimal("1.65")


def test_searches_have_a_bound_of_their_own(operator: Operator, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, served(MESSAGES, Tokens(input=100, output=10)))
    alice = operator.person("alice", credits="0.000001")
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    bare = alice.call(MESSAGES.path, MESSAGES.body(max_tokens=10)).error["hypereal"]["needed"]
    with_search = alice.call(MESSAGES.path, MESSAGES.body(max_tokens=10, tools=[search])).error["hypereal"]["needed"]
    per_search = Decimal("1.05") + bill(MESSAGES.model, input=0, output=0, cache_write_5m=10_000)
    assert 3 * per_search < with_search - bare < 3 * per_search + Decimal("0.01")
    for uses in (-1, 0, 21, 2**31, 2**63, 1.5, True, "3", None):
        asked = MESSAGES.body(tools=[{**search, "max_uses": uses}])
        refused = alice.call(MESSAGES.path, asked)
        assert (refused.status, "max_uses" in refused.error["message"]) == (400, True), uses


@pytest.mark.parametrize("name", ["n", "best_of", "max_new_tokens", "max_completion_tokens", "num_predict"])
def test_no_other_name_of_a_bound_slips_through(alice: Person, add_upstream: AddUpstream, name: str) -> None:
    for endpoint in (RESPONSES, MESSAGES, IMAGES):
        if name == "n" and endpoint is IMAGES:
            continue
        script = add_upstream(endpoint, served(endpoint, TOKENS))
        values: list[Any] = [2, 100_000, 2**31, 2**63, -1, 1.5, True, "4"]
        for value in values:
            refused = alice.call(endpoint.path, {**endpoint.body(), name: value})
            assert (refused.refusal, value) == ((400, "unsupported_field"), value)
            assert f"`{name}`" in refused.error["message"]
        assert script.calls == []
    alice.assert_paid_nothing()


@EACH
def test_what_nobody_knew_yet_passes_and_is_told_once(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint, TOKENS))
    name = f"hologram_of_{endpoint.name}"
    for _ in range(2):
        reply = alice.call(endpoint.path, {**endpoint.body(), name: {"depth": 3}})
        cost = bill(endpoint.model, input=TOKENS.input, output=TOKENS.output)
        assert (reply.status, reply.billing["credits_charged"]) == (200, cost)
    assert [call.json[name] for call in script.calls] == [{"depth": 3}] * 2
    assert alice.server.log.count(f"nobody knew the field '{name}' of {endpoint.dialect} yet") == 1
