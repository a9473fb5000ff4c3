"""The first call that somebody makes: every model answers in every dialect that it speaks, and says what it cost."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pytest

from tests.clients.claude_code import Install
from tests.flows.bills import MODELS, bill, bill_of_reply
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, RESPONSES, Endpoint, Tokens
from tests.flows.rig import Operator, Person, http
from tests.flows.simulator import Simulated, simulate_upstream
from tests.flows.upstream import served

CLI_ONLY = sorted(model_id for model_id, model in MODELS.items() if model["cli_only"])
SPOKEN = {"openai-chat": CHAT, "openai-responses": RESPONSES, "anthropic-messages": MESSAGES, "openai-images": IMAGES}
CALLABLE = [
    (model_id, SPOKEN[dialect])
    for model_id, model in MODELS.items()
    for dialect in model["dialects"]
    if dialect in SPOKEN and not model["cli_only"]
]


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulated]:
    with simulate_upstream() as simulated:
        yield simulated


@pytest.fixture(params=["built in", "behind a socket"])
def upstreams(request: pytest.FixtureRequest, simulated: Simulated, add_upstream: AddUpstream) -> Any:
    """Where the simulator answers: in the gateway's process, or as an upstream of its own that a route leads to."""

    def prepare(model_id: str, endpoint: Endpoint) -> str:
        if request.param == "built in":
            return "simulator"
        add_upstream(endpoint, served(endpoint), model=model_id, base_url=simulated.root)
        return "scripted"

    return prepare


@pytest.mark.parametrize(("model_id", "endpoint"), CALLABLE, ids=lambda value: getattr(value, "name", value))
def test_each_model_answers_and_says_what_it_cost(
    alice: Person, upstreams: Any, model_id: str, endpoint: Endpoint
) -> None:
    provider = upstreams(model_id, endpoint)
    reply = alice.call(endpoint.path, endpoint.body("What is twelve times twelve?", model=model_id))
    assert reply.status == 200
    cost = bill_of_reply(model_id, reply.json["usage"])
    assert reply.billing == {
        "model": model_id,
        "credits_charged": cost,
        "balance_before": 1_000,
        "balance_after": 1_000 - cost,
    }
    assert cost > 0
    assert reply.json.get("model", model_id) == model_id
    assert (alice.balance, alice.held) == (1_000 - cost, 0)
    record = alice.newest_record()
    assert record["request_id"] == reply.headers["x-request-id"] == reply.headers["request-id"]
    assert (record["model"], record["endpoint"], record["status"]) == (model_id, endpoint.name, "succeeded")
    assert (record["credits_charged"], record["provider"], record["estimated"]) == (cost, provider, False)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_replies_tell_what_capacity_is_left(alice: Person, endpoint: Endpoint) -> None:
    first = alice.call(endpoint.path, endpoint.body())
    second = alice.call(endpoint.path, endpoint.body())

    def shown(name: str) -> tuple[str, str]:
        return first.headers[name], second.headers[name]

    assert shown("x-hypereal-managed-governor") == ("active", "active")
    assert shown("x-hypereal-managed-model-concurrency-limit") == ("80", "80")
    assert shown("x-hypereal-managed-model-concurrency-remaining") == ("79", "79")
    assert shown("x-hypereal-managed-model-rpm-limit") == ("15000", "15000")
    before, after = map(int, shown("x-hypereal-managed-model-rpm-remaining"))
    assert 0 < after <= before <= 14_999
    assert shown("x-hypereal-capacity-requests-remaining") == ("9999", "9998")
    assert shown("x-hypereal-managed-circuit") == ("closed", "closed")


def test_only_image_models_show_images_per_minute(alice: Person) -> None:
    drawn = alice.call(IMAGES.path, IMAGES.body("A cat", n=2))
    assert drawn.headers["x-hypereal-managed-image-ipm-limit"] == "250"
    again = alice.call(IMAGES.path, IMAGES.body("A dog"))
    used = int(drawn.headers["x-hypereal-managed-image-ipm-remaining"]) - int(
        again.headers["x-hypereal-managed-image-ipm-remaining"]
    )
    assert used == 1
    assert len(drawn.json["data"]) == 2
    said = alice.call(CHAT.path, CHAT.body())
    assert not [name for name in said.headers if "ipm" in name]


@pytest.mark.parametrize("model_id", CLI_ONLY)
def test_cli_only_models_serve_the_official_cli(alice: Person, model_id: str) -> None:
    reply = alice.send(Install().turn(model=model_id, is_stream=False))
    assert reply.status == 200
    assert reply.billing["credits_charged"] == bill_of_reply(model_id, reply.json["usage"])


@pytest.mark.parametrize("model_id", CLI_ONLY)
def test_cli_only_models_refuse_everybody_else(alice: Person, model_id: str) -> None:
    stranger = alice.call(MESSAGES.path, MESSAGES.body(model=model_id))
    assert stranger.refusal == (403, "cli_only_model")
    assert (stranger.json["type"], stranger.error["type"]) == ("error", "permission_error")
    assert stranger.headers["x-should-retry"] == "false"
    through_openai = alice.another_key().call(CHAT.path, CHAT.body(model=model_id))
    assert through_openai.refusal == (403, "cli_only_model")
    assert through_openai.error["type"] == "permission_error"
    alice.assert_paid_nothing()


def test_a_model_that_ends_in_max_is_not_cli_only_by_its_name(alice: Person) -> None:
    assert alice.call(CHAT.path, CHAT.body(model="qwen3-7-max")).status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/images/generations"])
def test_short_paths_behave_as_the_managed_ones(alice: Person, path: str) -> None:
    endpoint = next(endpoint for endpoint in ENDPOINTS if endpoint.path.endswith(path.removeprefix("/v1")))
    reply = alice.call(path, endpoint.body())
    assert (reply.status, reply.billing["model"]) == (200, endpoint.model)


def test_messages_are_served_under_the_managed_path_too(alice: Person) -> None:
    reply = alice.call("/v1/managed/messages", MESSAGES.body())
    assert (reply.status, reply.json["type"]) == (200, "message")


def test_openais_sdk_reads_the_bill(alice: Person) -> None:
    with alice.openai() as client:
        said = client.chat.completions.create(
            model="gpt-5-5", messages=[{"role": "user", "content": "Hello!"}], max_tokens=200, temperature=0.5
        )
        assert said.choices[0].message.content is not None
        assert "Hello!" in said.choices[0].message.content
        assert said.model_extra is not None
        assert said.model_extra["hypereal"]["billing"]["model"] == said.model == "gpt-5-5"
        answered = client.responses.create(model="gpt-5-5", input="Hello again!")
        assert "Hello again!" in answered.output_text
        drawn = client.images.generate(model="gpt-image-2", prompt="A cat", size="1024x1024", quality="standard")
        assert drawn.data is not None
        assert drawn.data[0].b64_json is not None
        assert base64.b64decode(drawn.data[0].b64_json).startswith(b"\x89PNG")
    charges = [Decimal(str(record["credits_charged"])) for record in alice.records()]
    assert len(charges) == 3
    assert alice.balance == 1_000 - sum(charges)


def test_anthropics_sdk_reads_the_bill(alice: Person) -> None:
    with alice.anthropic() as client:
        said = client.messages.create(
            model="claude-sonnet-4-7", max_tokens=300, messages=[{"role": "user", "content": "Hello!"}]
        )
    (block,) = said.content
    assert isinstance(block, anthropic.types.TextBlock)
    assert "Hello!" in block.text
    assert said.model_extra is not None
    assert said.model_extra["hypereal"]["billing"]["model"] == said.model == "claude-sonnet-4-7"


def test_an_image_model_draws_in_chat(alice: Person) -> None:
    reply = alice.call(
        CHAT.path,
        CHAT.body(
            "A red cat",
            model="nano-banana-2",
            modalities=["image", "text"],
            image_config={"aspect_ratio": "1:1", "image_size": "1K"},
        ),
    )
    (image,) = reply.json["choices"][0]["message"]["images"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert reply.billing["credits_charged"] == bill_of_reply("nano-banana-2", reply.json["usage"])


def test_cached_tokens_cost_their_own_price(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, served(MESSAGES, Tokens(input=100, output=50, cache_read=9_000)))
    reply = alice.call(MESSAGES.path, MESSAGES.body())
    cost = bill("claude-haiku-latest", input=100, output=50, cache_read=9_000)
    assert reply.billing["credits_charged"] == cost == Decimal("0.13125")
    assert alice.newest_record()["usage"]["cache_read"] == 9_000


def test_a_cached_prompt_is_read_back_cheaper(alice: Person) -> None:
    long = "All work and no play makes Jack a dull boy. " * 600
    marked = {"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}
    body = MESSAGES.body("And then?", system=[marked])
    first, second = (alice.call(MESSAGES.path, body) for _ in range(2))
    assert first.json["usage"]["cache_creation_input_tokens"] > 6_000
    assert second.json["usage"]["cache_read_input_tokens"] == first.json["usage"]["cache_creation_input_tokens"]
    for reply in (first, second):
        assert reply.billing["credits_charged"] == bill_of_reply("claude-haiku-latest", reply.json["usage"])
    assert second.billing["credits_charged"] < first.billing["credits_charged"] / 5


def test_a_call_is_explained_afterwards(alice: Person, operator: Operator) -> None:
    reply = alice.call(CHAT.path, CHAT.body(), x_session_id="session 7")
    story = operator.run("explain", reply.headers["x-request-id"])
    assert (story["status"], story["session_id"]) == ("succeeded", "session 7")
    (entry,) = story["entries"]
    assert (entry["kind"], entry["credits"]) == ("charge", reply.billing["credits_charged"])
    assert story["credits_held"] >= story["credits_charged"]
    assert story["price"]["input"] == 45_670_000


def test_a_coding_agent_knocks_without_a_key(alice: Person) -> None:
    reply = http.head(f"{alice.server.url}/")
    assert (reply.status_code, reply.content) == (200, b"")
