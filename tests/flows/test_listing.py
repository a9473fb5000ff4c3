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
    "POST /v1/messages/count_tokens",
    "GET /v1/managed/models",
    "GET /v1/managed/models/{id}",
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


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ("limit=2", [0, 1], True),
        ("limit=2&after_id={0}", [1, 2], True),
        ("limit=2&before_id={2}", [0, 1], False),
        ("limit=1&before_id={2}", [1], True),
        ("after_id=nothing", [], False),
    ],
)
def test_anthropics_clients_page_through_the_list(
    alice: Person, query: str, expected: list[int], has_more: bool
) -> None:
    ids = [model["id"] for model in alice.get("/v1/models").json["data"]]
    reply = alice.get(f"/v1/models?{query.format(*ids)}", anthropic_version="2023-06-01")
    assert [model["id"] for model in reply.json["data"]] == [ids[place] for place in expected]
    assert reply.json["has_more"] is has_more


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "9" * 400, "²"])
def test_a_page_has_a_sensible_length(alice: Person, limit: str) -> None:
    assert alice.get(f"/v1/models?limit={limit}", anthropic_version="2023-06-01").refusal == (400, "invalid_request")


def test_anthropics_clients_find_their_members_on_the_managed_paths_too(alice: Person) -> None:
    reply = alice.get("/v1/managed/models", anthropic_version="2023-06-01")
    assert (reply.json["object"], reply.json["has_more"], len(reply.json["data"])) == ("list", False, 16)
    first = reply.json["data"][0]
    assert (first["object"], first["type"]) == ("model", "model")
    assert first["name"] == first["display_name"]


@pytest.mark.parametrize("path", ["/v1/managed/models", "/v1/models"])
def test_one_model_is_shown_as_in_the_list(alice: Person, path: str) -> None:
    for headers in ({}, {"anthropic_version": "2023-06-01"}):
        for listed in alice.get(path, **headers).json["data"]:
            reply = alice.get(f"{path}/{listed['id']}", **headers)
            assert (reply.status, reply.json) == (200, listed)


def test_the_official_sdks_retrieve_a_model(alice: Person) -> None:
    with alice.openai() as client:
        assert client.models.retrieve("gpt-5-5").id == "gpt-5-5"
    with alice.anthropic() as claude:
        assert claude.models.retrieve("claude-haiku-latest").display_name == "Claude Haiku Latest"


@pytest.mark.parametrize("path", ["/v1/managed/models", "/v1/models"])
def test_a_model_that_is_not_there_is_not_found_in_the_callers_shape(operator: Operator, path: str) -> None:
    alice = operator.person("alice", "--models", "gpt-5-5")
    for model_id in ("nothing", "kimi-latest", "", "a/b", "gpt-5-5/x", "%00"):
        reply = alice.get(f"{path}/{model_id}")
        assert reply.refusal == (404, "model_not_found")
        assert reply.error["type"] == "invalid_request_error"
        reply = alice.get(f"{path}/{model_id}", anthropic_version="2023-06-01")
        assert (reply.status, reply.json["type"], reply.error["type"]) == (404, "error", "not_found_error")


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


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_what_a_proxy_leaves_of_a_handshake_is_refused_alike(alice: Person, connection: str) -> None:
    """Proxies take `Connection: Upgrade` away and may leave the rest."""
    with Connection(alice.server.port) as socket:
        socket.head(
            "/v1/responses",
            method="GET",
            connection=connection,
            upgrade="websocket",
            sec_websocket_version="13",
            authorization=f"Bearer {alice.key}",
        )
        assert socket.reply().refusal == (426, "websocket_unsupported")


@pytest.mark.parametrize("path", ["/v1/managed/responses", "/v1/responses", "/v1/nothing"])
def test_a_handshake_without_its_key_is_refused_with_426(alice: Person, path: str) -> None:
    with Connection(alice.server.port) as socket:
        socket.head(path, method="GET", connection="Upgrade", upgrade="websocket", authorization=f"Bearer {alice.key}")
        assert socket.reply().status == 426


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
