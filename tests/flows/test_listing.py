"""What people look up: the catalog in two shapes, and what paths and methods there are."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.flows.bills import MODELS
from tests.flows.endpoints import ENDPOINTS, Endpoint
from tests.flows.raw_socket import Connection
from tests.flows.rig import Operator, Person, Server, http

LISTED = (
    "POST /v1/managed/chat/completions",
    "POST /v1/managed/responses",
    "POST /v1/managed/images/generations",
    "POST /v1/managed/messages",
    "POST /v1/messages",
    "GET /v1/managed/models",
)


def test_the_catalog_lists_every_model_with_its_price(alice: Person) -> None:
    reply = alice.get("/v1/managed/models")
    assert (reply.status, reply.json["object"]) == (200, "list")
    assert reply.headers["x-request-id"] == reply.headers["request-id"]
    listed = {model["id"]: model for model in reply.json["data"]}
    assert listed.keys() == MODELS.keys()
    assert len(listed) == 16
    for model_id, model in MODELS.items():
        shown = listed[model_id]
        assert (shown["object"], shown["owned_by"], shown["name"]) == ("model", "hypereal", model["name"])
        assert shown["context_length"] == model["context_tokens"]
        assert shown["max_output_tokens"] == model["max_output_tokens"]
        assert (shown["cli_only"], shown["dialects"]) == (model["cli_only"], model["dialects"])
        assert shown["modalities"] == {"input": model["input_modalities"], "output": model["output_modalities"]}
        for meter, dollars in model["usd_per_million_tokens"].items():
            price = None if dollars is None else Decimal(dollars)
            assert shown["pricing"][meter] == price
            credits = None if price is None else price * 100
            assert shown["pricing"]["credits_per_million_tokens"][meter] == credits


def test_a_key_sees_only_its_models(operator: Operator) -> None:
    alice = operator.person("alice", "--models", "gpt-5-5,qwen3-7-max")
    for path in ("/v1/managed/models", "/v1/models"):
        assert [model["id"] for model in alice.get(path).json["data"]] == ["gpt-5-5", "qwen3-7-max"]


def test_anthropics_clients_get_their_own_shape(alice: Person) -> None:
    reply = alice.get("/v1/models?limit=1000", anthropic_version="2023-06-01")
    ids = [model["id"] for model in reply.json["data"]]
    assert (reply.json["has_more"], reply.json["first_id"], reply.json["last_id"]) == (False, ids[0], ids[-1])
    first = reply.json["data"][0]
    assert (first["type"], first["display_name"]) == ("model", MODELS[first["id"]]["name"])
    with alice.anthropic() as client:
        assert {model.id for model in client.models.list()} == MODELS.keys()


def test_openais_sdk_lists_models(alice: Person) -> None:
    with alice.openai() as client:
        assert {model.id for model in client.models.list()} == MODELS.keys()


def test_a_disabled_model_is_not_listed(alice: Person, operator: Operator) -> None:
    operator.run("set_model", "kimi-latest", "--disable")
    try:
        operator.tell_server()
        assert "kimi-latest" not in {model["id"] for model in alice.get("/v1/managed/models").json["data"]}
    finally:
        operator.run("set_model", "kimi-latest", "--enable")
        operator.tell_server()


@pytest.mark.parametrize("path", ["/v1/managed/models", "/v1/models"])
def test_the_catalog_needs_a_key(server: Server, path: str) -> None:
    reply = http.get(f"{server.url}{path}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/nothing", "/v1/managed", "/v1/completions", "/v1/managed/chat/completions/", "/v1//models"],
)
def test_an_unknown_path_lists_the_endpoints(alice: Person, path: str) -> None:
    for reply in (alice.get(path), alice.call(path, {})):
        assert reply.refusal == (404, "not_found")
        assert reply.error["type"] == "invalid_request_error"
        assert all(line in reply.error["message"] for line in LISTED)
        assert reply.headers["x-request-id"] == reply.headers["request-id"]


@pytest.mark.parametrize("path", ["/v1/messages/", "/v1/messages/batches", "/v1/managed/messages/nothing"])
def test_an_unknown_path_of_messages_is_refused_in_their_shape(alice: Person, path: str) -> None:
    reply = alice.call(path, {})
    assert (reply.status, reply.json["type"], reply.error["type"]) == (404, "error", "not_found_error")
    assert reply.json["request_id"] == reply.headers["request-id"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_told_the_right_one(alice: Person, endpoint: Endpoint, method: str) -> None:
    reply = http.request(method, f"{alice.server.url}{endpoint.path}", headers=alice.headers())
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["error"]["code"] == "method_not_allowed"


def test_models_take_get_only(alice: Person) -> None:
    reply = http.post(f"{alice.server.url}/v1/models", headers=alice.headers(), json={})
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
    head = http.head(f"{alice.server.url}/v1/models", headers=alice.headers())
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", ["/v1/managed/responses", "/v1/responses", "/v1/messages"])
def test_a_websocket_is_refused_so_that_clients_fall_back(alice: Person, path: str) -> None:
    with Connection(alice.server.port) as connection:
        connection.head(
            path,
            method="GET",
            connection="Upgrade",
            upgrade="websocket",
            sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
            sec_websocket_version="13",
            authorization=f"Bearer {alice.key}",
        )
        reply = connection.reply()
    assert reply.refusal == (426, "websocket_unsupported")
    assert reply.headers["x-request-id"] == reply.headers["request-id"]
    assert (reply.json.get("type") == "error") == (path == "/v1/messages")


def test_a_websocket_to_nowhere_is_refused_without_noise(server: Server) -> None:
    before = len(server.log)
    with Connection(server.port) as connection:
        connection.head(
            "/ws/nothing",
            method="GET",
            connection="Upgrade",
            upgrade="websocket",
            sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
            sec_websocket_version="13",
            origin=server.url,
        )
        assert connection.receive_until(b"\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    assert "Traceback" not in server.log[before:]
