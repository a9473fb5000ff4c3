"""Calls that name themselves with an `Idempotency-Key`: made once, billed once, told again to whoever repeats them."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import psycopg
import pytest
from psycopg import sql

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, RESPONSES, TEXT, Endpoint, Tokens
from tests.flows.rig import Operator, Person, Reply, Server, eventually, http
from tests.flows.upstream import Cut, plain, served, streamed

TOKENS = Tokens(input=1_000, output=400)


def fresh_key() -> str:
    return f"order-{uuid.uuid4()}"


def cost(endpoint: Endpoint) -> Decimal:
    return bill(endpoint.model, input=1_000, output=400)


def hypereal_in(reply: Reply) -> Any:
    """The block, wherever the reply has it."""
    if reply.headers["content-type"] == "application/json":
        return reply.json["hypereal"]
    for event in reply.events:
        holder = event if event == "[DONE]" or "hypereal" in event else event.get("response", {})
        if "hypereal" in holder:
            return holder["hypereal"]
    raise AssertionError(reply.body)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_repeat_gets_the_first_calls_outcome_and_nothing_is_called_or_charged(
    endpoint: Endpoint, stream: bool, alice: Person, add_upstream: AddUpstream
) -> None:
    upstream = add_upstream(endpoint, served(endpoint, TOKENS))
    key, body = fresh_key(), endpoint.body(stream=stream)
    first = alice.call(endpoint.path, body, idempotency_key=key)
    second = alice.call(endpoint.path, body, idempotency_key=key)
    assert (first.status, second.status, len(upstream.calls)) == (200, 200, 1)
    assert second.headers["x-request-id"] == second.headers["request-id"] == first.headers["x-request-id"]
    assert second.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    told = hypereal_in(first)
    assert told["billing"]["credits_charged"] == cost(endpoint)
    assert hypereal_in(second) == {**told, "replayed": True}
    assert TEXT.encode() not in second.body
    assert alice.balance == 1_000 - cost(endpoint)
    assert len(alice.records()) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_account_that_keeps_replies_gives_them_to_repeats(
    endpoint: Endpoint, stream: bool, alice: Person, operator: Operator, add_upstream: AddUpstream
) -> None:
    operator.run("set_account", alice.account_id, "--keep-replies", "on")
    upstream = add_upstream(endpoint, served(endpoint, TOKENS))
    key, body = fresh_key(), endpoint.body(stream=stream)
    first = alice.call(endpoint.path, body, idempotency_key=key)
    second = alice.call(endpoint.path, body, idempotency_key=key)
    assert (first.status, second.status, len(upstream.calls)) == (200, 200, 1)
    block = hypereal_in(first)
    shown = json.dumps(block, separators=(",", ":"), default=float).encode()
    assert first.body.count(b'"hypereal"') == second.body.count(b'"hypereal"') == 1
    assert hypereal_in(second) == {**block, "replayed": True}
    assert second.body.replace(b',"replayed":true', b"") == first.body, shown
    assert b"@hypereal" not in second.body
    assert alice.balance == 1_000 - cost(endpoint)


def test_twenty_at_once_are_one_call(alice: Person, add_upstream: AddUpstream) -> None:
    upstream = add_upstream(CHAT, served(CHAT, TOKENS, gap_s=0.1))
    key, body = fresh_key(), CHAT.body(stream=True)
    with ThreadPoolExecutor(20) as callers:
        replies = list(callers.map(lambda _: alice.call(CHAT.path, body, idempotency_key=key), range(20)))
    assert len(upstream.calls) == 1
    told = [reply for reply in replies if reply.status == 409]
    assert {reply.outcome for reply in replies} <= {"served", "idempotency_in_progress"}
    assert told
    assert {reply.headers["retry-after"] for reply in told} == {"1"}
    assert len({reply.headers["x-request-id"] for reply in replies if reply.status == 200}) == 1
    assert alice.balance == 1_000 - cost(CHAT)
    assert alice.held == 0


@pytest.mark.parametrize("endpoint", [CHAT, MESSAGES], ids=lambda endpoint: endpoint.name)
def test_another_body_under_the_same_key_is_refused(
    endpoint: Endpoint, alice: Person, add_upstream: AddUpstream
) -> None:
    upstream = add_upstream(endpoint, served(endpoint, TOKENS))
    key = fresh_key()
    assert alice.call(endpoint.path, endpoint.body("Hi"), idempotency_key=key).status == 200
    assert alice.call(endpoint.path, endpoint.body("Ho"), idempotency_key=key).refusal == (422, "idempotency_mismatch")
    other = RESPONSES if endpoint is CHAT else CHAT
    assert alice.call(other.path, other.body("Hi"), idempotency_key=key).refusal == (422, "idempotency_mismatch")
    assert (len(upstream.calls), alice.balance) == (1, 1_000 - cost(endpoint))


def test_an_alias_of_an_endpoint_is_the_same_endpoint(alice: Person, add_upstream: AddUpstream) -> None:
    upstream = add_upstream(CHAT, served(CHAT, TOKENS))
    key = fresh_key()
    first = alice.call("/v1/managed/chat/completions", CHAT.body(), idempotency_key=key)
    second = alice.call("/v1/chat/completions", CHAT.body(), idempotency_key=key)
    assert second.headers["x-request-id"] == first.headers["x-request-id"]
    assert len(upstream.calls) == 1


def test_keys_belong_to_accounts_not_to_api_keys(alice: Person, charlie: Person, add_upstream: AddUpstream) -> None:
    upstream = add_upstream(CHAT, served(CHAT, TOKENS))
    key = fresh_key()
    first = alice.call(CHAT.path, CHAT.body(), idempotency_key=key)
    second = alice.another_key().call(CHAT.path, CHAT.body(), idempotency_key=key)
    assert second.headers["x-request-id"] == first.headers["x-request-id"]
    assert charlie.call(CHAT.path, CHAT.body("Ho"), idempotency_key=key).status == 200
    assert len(upstream.calls) == 2


def test_a_call_that_failed_is_made_again(alice: Person, add_upstream: AddUpstream) -> None:
    upstream = add_upstream(CHAT, plain(b'{"error": {"message": "no"}}', status=500))
    key = fresh_key()
    assert alice.call(CHAT.path, CHAT.body(), idempotency_key=key).refusal == (502, "upstream_error")
    eventually(lambda: alice.held == 0)
    upstream.answer = served(CHAT, TOKENS)
    again = alice.call(CHAT.path, CHAT.body(), idempotency_key=key)
    assert (again.status, again.billing["credits_charged"], len(upstream.calls)) == (200, cost(CHAT), 2)
    assert alice.call(CHAT.path, CHAT.body(), idempotency_key=key).json["hypereal"]["replayed"] is True


def test_a_stream_that_broke_is_made_again(alice: Person, add_upstream: AddUpstream) -> None:
    upstream = add_upstream(CHAT, streamed([*CHAT.events(TOKENS)[:3], Cut]))
    key, body = fresh_key(), CHAT.body(stream=True)
    assert b"upstream_error" in alice.call(CHAT.path, body, idempotency_key=key).body
    eventually(lambda: alice.held == 0)
    upstream.answer = served(CHAT, TOKENS)
    assert hypereal_in(alice.call(CHAT.path, body, idempotency_key=key))["billing"]["credits_charged"] == cost(CHAT)


def test_a_refused_call_claims_no_key(operator: Operator, add_upstream: AddUpstream) -> None:
    add_upstream(CHAT, served(CHAT, TOKENS))
    poor = operator.person("poor", credits=0)
    key = fresh_key()
    assert poor.call(CHAT.path, CHAT.body(), idempotency_key=key).refusal == (402, "insufficient_credits")
    operator.run("top_up", poor.account_id, 1_000, "--reference", "late")
    assert poor.call(CHAT.path, CHAT.body("Ho"), idempotency_key=key).status == 200


def test_a_repeat_of_what_took_the_last_credits_is_told_all_the_same(
    operator: Operator, add_upstream: AddUpstream
) -> None:
    add_upstream(CHAT, served(CHAT, TOKENS))
    poor = operator.person("poor", credits="0.1")
    key, body = fresh_key(), CHAT.body(max_tokens=400)
    first = poor.call(CHAT.path, body, idempotency_key=key)
    assert (first.status, poor.balance) == (200, Decimal("0.1") - cost(CHAT))
    assert poor.call(CHAT.path, body).refusal == (402, "insufficient_credits")
    assert poor.call(CHAT.path, body, idempotency_key=key).billing == first.billing


@pytest.mark.parametrize("keeps", ["off", "on"])
def test_whoever_lost_the_connection_is_told_what_it_cost(
    keeps: str, alice: Person, operator: Operator, add_upstream: AddUpstream
) -> None:
    operator.run("set_account", alice.account_id, "--keep-replies", keeps)
    upstream = add_upstream(CHAT, served(CHAT, TOKENS, gap_s=0.1))
    key, body = fresh_key(), CHAT.body(stream=True)
    headers = {**alice.headers(), "idempotency-key": key}
    with (
        httpx2.Client(timeout=30, trust_env=False, verify=False) as client,
        client.stream("POST", f"{alice.server.url}{CHAT.path}", content=json.dumps(body), headers=headers) as reply,
    ):
        next(reply.iter_raw())
    record = eventually(lambda: next(iter(alice.records(1)), None))
    assert (record["status"], record["credits_charged"]) == ("abandoned", cost(CHAT))
    again = alice.call(CHAT.path, body, idempotency_key=key)
    assert again.headers["x-request-id"] == record["request_id"]
    assert hypereal_in(again)["billing"]["credits_charged"] == cost(CHAT)
    said = "".join(
        event["choices"][0]["delta"].get("content") or ""
        for event in again.events
        if event != "[DONE]" and event["choices"]
    )
    assert said == (TEXT if keeps == "on" else "")
    assert (len(upstream.calls), alice.balance) == (1, 1_000 - cost(CHAT))


@pytest.mark.parametrize("key", [b"", b"x" * 256, "ключ".encode(), b"tab\there"])
def test_what_is_no_key_is_refused(key: bytes, alice: Person) -> None:
    headers = [(name.encode(), value.encode()) for name, value in alice.headers().items()]
    sent = http.post(f"{alice.server.url}{CHAT.path}", json=CHAT.body(), headers=[*headers, (b"idempotency-key", key)])
    reply = Reply(sent.status_code, sent.headers, sent.content)
    assert reply.refusal == (400, "invalid_request")
    assert reply.error["param"] == "Idempotency-Key"


@pytest.mark.parametrize("key", ["x", "x" * 255, "~!\"#$%&'()*+, -./:;<=>?@[]^_`{|}"])
def test_every_printable_key_is_one(key: str, alice: Person, add_upstream: AddUpstream) -> None:
    upstream = add_upstream(CHAT, served(CHAT, TOKENS))
    for _ in range(2):
        assert alice.call(CHAT.path, CHAT.body(), idempotency_key=key).status == 200
    assert len(upstream.calls) == 1


def test_neither_the_key_nor_what_was_said_is_stored(
    alice: Person, operator: Operator, add_upstream: AddUpstream
) -> None:
    key, prompt, said = (f"canary {what} {uuid.uuid4()}" for what in ("key", "prompt", "answer"))
    add_upstream(CHAT, plain(CHAT.reply(TOKENS, said)))
    assert alice.call(CHAT.path, CHAT.body(prompt), idempotency_key=key).status == 200
    stored = everything_stored(alice.server)
    request_id = alice.newest_record()["request_id"].removeprefix("req_")
    assert request_id in stored
    assert [canary for canary in (key, prompt, said) if canary in stored] == []
    operator.run("set_account", alice.account_id, "--keep-replies", "on")
    operator.tell_server()
    assert alice.call(CHAT.path, CHAT.body(prompt), idempotency_key=f"{key}-2").status == 200
    stored = everything_stored(alice.server)
    assert said in stored
    assert [canary for canary in (key, prompt) if canary in stored] == []


def everything_stored(server: Server) -> str:
    """The ledger's and the usage log's rows, as text."""
    tables = ("ledger_idempotencykey", "usage_usagerecord", "ledger_entry", "ledger_hold")
    url = server.environ["DATABASE_URL"]
    rows: list[Any] = []
    if url:
        with psycopg.connect(url) as connection:
            for table in tables:
                rows += connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall()
    else:
        path = Path(server.environ["HYPEREAL_DATA_DIR"]) / "hypereal.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            for table in tables:
                rows += connection.execute(f"SELECT * FROM {table}").fetchall()
    return " ".join(value.hex if isinstance(value, uuid.UUID) else str(value) for row in rows for value in row)


def test_a_long_body_is_known_again(alice: Person, add_upstream: AddUpstream) -> None:
    upstream = add_upstream(CHAT, served(CHAT, TOKENS))
    key = fresh_key()
    replies = [
        alice.call(CHAT.path, CHAT.body("word " * 100_000 + end), idempotency_key=key) for end in ("a", "a", "b")
    ]
    assert [reply.outcome for reply in replies] == ["served", "served", "idempotency_mismatch"]
    assert len(upstream.calls) == 1


@pytest.fixture
def openai_sdk(alice: Person) -> Iterator[openai.OpenAI]:
    with alice.openai() as client:
        yield client


@pytest.fixture
def anthropic_sdk(alice: Person) -> Iterator[anthropic.Anthropic]:
    with alice.anthropic() as client:
        yield client


def test_a_repeat_in_the_openai_sdk(openai_sdk: openai.OpenAI, add_upstream: AddUpstream) -> None:
    for endpoint in (CHAT, RESPONSES, IMAGES):
        add_upstream(endpoint, served(endpoint, TOKENS))
    client = openai_sdk
    named = {"Idempotency-Key": fresh_key()}
    asked: Any = {"model": CHAT.model, "messages": [{"role": "user", "content": "Hi"}]}
    first, second = (client.chat.completions.create(**asked, extra_headers=named) for _ in range(2))
    assert (first.choices[0].message.content, second.choices[0].message.content) == (TEXT, "")
    assert first.usage is not None
    assert second.usage is not None
    assert (second.usage.prompt_tokens, second.usage.completion_tokens) == (1_000, 400)
    assert second.choices[0].finish_reason == "stop"

    named = {"Idempotency-Key": fresh_key()}
    asked = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    streams = [list(client.chat.completions.create(**asked, extra_headers=named)) for _ in range(2)]
    texts = ["".join(c.choices[0].delta.content or "" for c in chunks if c.choices) for chunks in streams]
    usages = [[c.usage.total_tokens for c in chunks if c.usage] for chunks in streams]
    assert (texts, usages) == ([TEXT, ""], [[1_400], [1_400]])

    named = {"Idempotency-Key": fresh_key()}
    responses = [client.responses.create(model=RESPONSES.model, input="Hi", extra_headers=named) for _ in range(2)]
    assert [response.output_text for response in responses] == [TEXT, ""]
    assert [response.usage.total_tokens for response in responses if response.usage] == [1_400, 1_400]

    named = {"Idempotency-Key": fresh_key()}
    finals = []
    for _ in range(2):
        events = list(client.responses.create(model=RESPONSES.model, input="Hi", stream=True, extra_headers=named))
        assert events[-1].type == "response.completed"
        finals.append(events[-1].response)
    assert [final.output_text for final in finals] == [TEXT, ""]
    with client.responses.stream(
        model=RESPONSES.model, input="Hi", extra_headers=named
    ) as stream:  # the SDK's strictest reader
        assert stream.get_final_response().id == finals[1].id

    named = {"Idempotency-Key": fresh_key()}
    images = [client.images.generate(model=IMAGES.model, prompt="Hi", extra_headers=named) for _ in range(2)]
    assert [len(image.data or []) for image in images] == [1, 0]


def test_a_repeat_in_the_anthropic_sdk(anthropic_sdk: anthropic.Anthropic, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, served(MESSAGES, TOKENS))
    client = anthropic_sdk
    named = {"Idempotency-Key": fresh_key()}
    asked: Any = {"model": MESSAGES.model, "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]}
    first, second = (client.messages.create(**asked, extra_headers=named) for _ in range(2))
    assert isinstance(first.content[0], anthropic.types.TextBlock)
    assert (first.content[0].text, second.content, second.stop_reason) == (TEXT, [], "end_turn")
    assert (second.usage.input_tokens, second.usage.output_tokens) == (1_000, 400)

    named = {"Idempotency-Key": fresh_key()}
    finals = []
    for _ in range(2):
        with client.messages.stream(**asked, extra_headers=named) as stream:
            finals.append(stream.get_final_message())
    assert [len(final.content) for final in finals] == [1, 0]
    assert [final.usage.output_tokens for final in finals] == [400, 400]


@pytest.fixture
def flaky(alice: Person) -> Iterator[tuple[httpx2.Client, list[str | None]]]:
    """A connection that loses each first reply on its way back, and what the SDK sent each time."""
    sent: list[str | None] = []

    class LosesEveryOther(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            reply = super().handle_request(request)
            sent.append(request.headers.get("idempotency-key"))
            if len(sent) % 2:
                reply.read()
                reply.close()
                raise httpx2.ReadError("the reply was lost")
            return reply

    with httpx2.Client(transport=LosesEveryOther(verify=False)) as client:
        yield client, sent


def test_the_openai_sdks_own_retry_is_billed_once_with_a_key_and_twice_without(
    alice: Person, add_upstream: AddUpstream, flaky: tuple[httpx2.Client, list[str | None]]
) -> None:
    upstream = add_upstream(CHAT, served(CHAT, TOKENS))
    transport, sent = flaky
    client = openai.OpenAI(
        base_url=f"{alice.server.url}/v1/managed",
        api_key=alice.key,
        max_retries=2,
        http_client=transport,
    )
    asked: Any = {"model": CHAT.model, "messages": [{"role": "user", "content": "Hi"}]}
    client.chat.completions.create(**asked)
    assert (sent, len(upstream.calls)) == ([None, None], 2)
    key = fresh_key()
    client.chat.completions.create(**asked, extra_headers={"Idempotency-Key": key})
    assert (sent[2:], len(upstream.calls)) == ([key, key], 3)
    # The SDK can name each call by itself: it then uses one key for all attempts.
    client._idempotency_header = "Idempotency-Key"
    client.chat.completions.create(**asked)
    assert (len(set(sent[4:])), len(upstream.calls)) == (1, 4)
    assert alice.balance == 1_000 - 4 * cost(CHAT)
