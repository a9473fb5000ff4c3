"""A slow call is paid for as the document says: in its reply, or, where it is a stream, within seconds, once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from apps.catalog.services import SHIPPED_CATALOG
from tests.faults.redis_server import has_redis, own_redis
from tests.flows.conftest import own_stores
from tests.flows.endpoints import CHAT, ENDPOINTS, TEXT, TEXT_ENDPOINTS, Endpoint, Tokens
from tests.flows.raw_socket import Connection
from tests.flows.rig import Operator, Person, Reply, Server, eventually
from tests.flows.serve_by_the_clock import CLOCK_FILE
from tests.flows.upstream import Answer, ScriptedUpstream, Step, streamed

TWELVE_CREDITS: Final = Tokens(input=39_950, output=10)
"""At 3 and 15 dollars per million tokens."""
SLOW_S: Final = 94.3204
PAID_WITHIN_S: Final = 10.0
DOCUMENT: Final = {
    "status": "paid",
    "trigger": "latency",
    "reason": "latency_threshold_exceeded",
    "latency_ms": 94_320,
    "threshold_ms": 90_000,
    "credits_charged": 12,
    "credits_compensated": 3,
}
HEADERS: Final = {
    "x-hypereal-insurance-status": "paid",
    "x-hypereal-insurance-trigger": "latency",
    "x-hypereal-insurance-latency-ms": "94320",
    "x-hypereal-insurance-threshold-ms": "90000",
    "x-hypereal-insurance-credits": "3",
}


class Tape:
    """The server's monotonic clock: it stands still until somebody moves it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds = 0.0
        self.advance(1_000.0)

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
        draft = self._path.with_suffix(".draft")
        draft.write_text(repr(self._seconds))
        draft.rename(self._path)


class Shop:
    """An installation whose upstream takes as long as a test says, at prices that make round figures."""

    def __init__(self, server: Server, tape: Tape, directory: Path, scripted: ScriptedUpstream) -> None:
        self.server = server
        self.tape = tape
        self.takes_s = SLOW_S
        self.text = TEXT
        server.start()
        self.operator = Operator(server)
        self.operator.run("load_catalog", _priced(directory))
        for endpoint in ENDPOINTS:
            script = scripted.script(self._answer_of(endpoint))
            route = self.operator.run(
                "add_route", endpoint.model, "--provider", "scripted", "--dialect", endpoint.dialect,
                "--base-url", script.base_url + endpoint.base_path, "--upstream-model", "theirs",
            )  # fmt: skip
            deadlines = ("--idle-timeout-ms", 500_000, "--total-timeout-ms", 500_000)
            self.operator.run("set_route", route["route_id"], *deadlines)
        self.alice = self.operator.person("alice")
        self.operator.tell_server()

    def _answer_of(self, endpoint: Endpoint) -> Callable[[Any], Answer]:
        def answer(received: Any) -> Answer:
            if received.json.get("stream"):
                first, *rest = endpoint.events(TWELVE_CREDITS, self.text)
                steps: list[Step] = [first, 0.05, self._wait, *rest]
                return streamed(steps)
            body = endpoint.reply(TWELVE_CREDITS)
            length = {"content-type": "application/json", "content-length": str(len(body))}
            return Answer(200, length, [self._wait, body])

        return answer

    def _wait(self) -> None:
        self.tape.advance(self.takes_s)

    def call(self, endpoint: Endpoint, **fields: Any) -> Reply:
        headers = fields.pop("headers", {})
        reply = self.alice.call(endpoint.path, endpoint.body(**fields), **headers)
        assert reply.status == 200, reply.body
        return reply

    def close(self) -> None:
        self.operator.close()
        if self.server.is_running:
            self.server.stop()


def _priced(directory: Path) -> Path:
    """The shipped catalog with 3 and 15 dollars for all models."""
    catalog = json.loads(SHIPPED_CATALOG.read_text())
    for row in catalog["models"]:
        row["usd_per_million_tokens"] |= {"input": "3", "output": "15"}
    path = directory / "catalog.json"
    path.write_text(json.dumps(catalog))
    return path


def open_shop(directory: Path, stores: dict[str, str], scripted: ScriptedUpstream) -> Shop:
    server = Server(directory / "data", stores, module="tests.flows.serve_by_the_clock")
    shown = directory / "clock"
    server.environ[CLOCK_FILE] = str(shown)
    return Shop(server, Tape(shown), directory, scripted)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, scripted: ScriptedUpstream) -> Iterator[Shop]:
    with own_stores("insurance") as stores:
        opened = open_shop(tmp_path_factory.mktemp("insurance"), stores, scripted)
        yield opened
        opened.close()


class SlowReader(Connection):
    """A caller whose own end keeps next to nothing for it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))

    def read(self, size: int) -> bytes:
        """Take about so many bytes, up to the stream's end; return the last of them."""
        last = b""
        while size > 0 and not last.endswith(b"0\r\n\r\n"):
            part = self.socket.recv(65_536)
            assert part, "the gateway hung up"
            size -= len(part)
            last = (last + part)[-64:]
        return last.removesuffix(b"\r\n0\r\n\r\n")


@pytest.fixture(autouse=True)
def somebody_new(request: pytest.FixtureRequest) -> None:
    """Each test has an account of its own, and an upstream that takes 94,320 ms."""
    if "shop" in request.fixturenames:
        shop: Shop = request.getfixturevalue("shop")
        shop.alice, shop.takes_s, shop.text = shop.operator.person("alice"), SLOW_S, TEXT


def insurance_headers(reply: Reply) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.startswith("x-hypereal-insurance-")}


def entries_of(shop: Shop, request_id: str) -> list[tuple[str, Decimal | int]]:
    entries = shop.operator.run("explain", request_id)["entries"]
    return [(entry["kind"], entry["credits"]) for entry in entries]


def newest(person: Person, claim: str) -> Any:
    """The newest record, once insurance says so of it; timed from here."""
    return eventually(
        lambda: next((row for row in person.records(1) if (row["insurance"] or {}).get("status") == claim), None),
        timeout_s=PAID_WITHIN_S,
    )


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_plain_call_is_paid_in_its_reply_as_the_document_says(shop: Shop, endpoint: Endpoint) -> None:
    reply = shop.call(endpoint)
    hypereal = reply.json["hypereal"]
    assert hypereal["insurance"] == DOCUMENT
    assert list(hypereal["insurance"]) == list(DOCUMENT)
    assert hypereal["billing"] == {
        "model": endpoint.model, "credits_charged": 12, "balance_before": 1_000, "balance_after": 988,
    }  # fmt: skip
    assert insurance_headers(reply) == HEADERS
    assert shop.alice.balance == 991
    record = shop.alice.newest_record()
    assert (record["credits_compensated"], record["insurance"]["status"]) == (3, "paid")
    assert entries_of(shop, record["request_id"]) == [("charge", 12), ("compensation", 3)]
    assert shop.operator.run("verify_ledger")["problems"] == []


def test_a_call_in_time_is_told_so(shop: Shop) -> None:
    shop.takes_s = 89.5004
    reply = shop.call(CHAT)
    assert reply.json["hypereal"]["insurance"] == {
        "status": "not_triggered", "latency_ms": 89_500, "threshold_ms": 90_000,
        "credits_charged": 12, "credits_compensated": 0,
    }  # fmt: skip
    assert shop.alice.balance == 988


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_stream_shows_its_policy_at_once_and_is_paid_within_seconds_once(shop: Shop, endpoint: Endpoint) -> None:
    reply = shop.call(endpoint, stream=True)
    assert insurance_headers(reply) == {
        "x-hypereal-insurance-status": "active",
        "x-hypereal-insurance-trigger": "latency",
        "x-hypereal-insurance-threshold-ms": "90000",
    }
    record = newest(shop.alice, "paid")
    assert (record["latency_ms"], record["credits_charged"], record["credits_compensated"]) == (94_320, 12, 3)
    assert record["insurance"]["threshold_ms"] == 90_250
    for _ in range(10):
        shop.operator.run_task("insurance.pay_due")
    assert shop.alice.balance == 991
    assert entries_of(shop, record["request_id"]) == [("charge", 12), ("compensation", 3)]
    assert shop.operator.run("verify_ledger")["problems"] == []


@pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
def test_a_repeat_is_told_of_the_first_calls_insurance(shop: Shop, endpoint: Endpoint, is_stream: bool) -> None:
    named = {"idempotency_key": "again"}
    shop.call(endpoint, headers=named, **({"stream": True} if is_stream else {}))
    newest(shop.alice, "paid")
    again = shop.call(endpoint, headers=named, **({"stream": True} if is_stream else {}))
    assert again.headers["idempotent-replayed"] == "true"
    assert insurance_headers(again) == HEADERS | ({"x-hypereal-insurance-threshold-ms": "90250"} if is_stream else {})
    if not is_stream:
        assert again.json["hypereal"]["insurance"] == DOCUMENT
    assert shop.alice.balance == 991


def test_whoever_reads_slowly_is_not_paid_for_it(shop: Shop) -> None:
    shop.takes_s, shop.text = 0.0, "x" * 16_000_000
    reader = SlowReader(shop.server.port)
    with reader:
        reader.post(CHAT.path, CHAT.body(stream=True), key=shop.alice.key)
        for _ in range(5):
            # By now all buffers between the two are full, and the gateway waits for this caller: not for so long that
            # it would call it stuck, though it may be slow to notice that something was taken.
            time.sleep(0.4)
            shop.tape.advance(20.0)
            assert reader.read(1_000_000)
        assert reader.read(100_000_000).endswith(b"[DONE]\n\n")
    record = newest(shop.alice, "not_triggered")
    assert (record["status"], record["latency_ms"], record["credits_compensated"]) == ("succeeded", 0, 0)
    assert shop.alice.balance == 988


def test_the_days_cap_is_the_accounts_and_is_told(shop: Shop) -> None:
    shop.operator.run("set_account", shop.alice.account_id, "--insurance-daily-cap", "4")
    told = [shop.call(CHAT).json["hypereal"]["insurance"] for _ in range(3)]
    assert told[0] == DOCUMENT
    assert told[1] == {**DOCUMENT, "credits_compensated": 1, "capped": True}
    assert told[2] == {
        **DOCUMENT, "status": "not_triggered", "reason": "daily_cap_reached", "credits_compensated": 0, "capped": True,
    }  # fmt: skip
    assert shop.alice.balance == 1_000 - 36 + 4


def test_another_policy_pays_by_its_own_figures_and_is_named(shop: Shop) -> None:
    before = shop.operator.run("set_policy", CHAT.model)
    try:
        shop.operator.run("set_policy", CHAT.model, "--insurance-percent", 50, "--insurance-threshold-ms", 94_000)
        shop.operator.tell_server()
        told = shop.call(CHAT).json["hypereal"]["insurance"]
        assert (told["threshold_ms"], told["credits_compensated"]) == (94_000, 6)
        policy = shop.operator.run("explain", shop.alice.newest_record()["request_id"])["insurance_policy"]
        assert (policy["percent"], policy["threshold_ms"]) == (50, 94_000)
        shop.operator.run("set_policy", CHAT.model, "--insurance-percent", 0)
        shop.operator.tell_server()
        uninsured = shop.call(CHAT)
        assert "insurance" not in uninsured.json["hypereal"]
        assert insurance_headers(uninsured) == {}
        assert shop.alice.newest_record()["insurance"] is None
    finally:
        figures = {name: before[name] for name in ("insurance_percent", "insurance_threshold_ms")}
        options = [word for name, value in figures.items() for word in (f"--{name.replace('_', '-')}", value)]
        shop.operator.run("set_policy", CHAT.model, *options)
        shop.operator.tell_server()
    # What was paid by the former version is proved by the former version.
    assert shop.operator.run("verify_ledger")["problems"] == []


def test_a_stream_is_paid_with_the_broker_down(tmp_path: Path, scripted: ScriptedUpstream) -> None:
    if not has_redis():
        pytest.skip("no redis-server")
    with own_stores("brokerless") as stores:
        if not stores:
            pytest.skip("embedded: there is no broker")
        with own_redis() as broker:
            shop = open_shop(tmp_path, {**stores, "REDIS_URL": broker.url}, scripted)
            try:
                broker.kill()
                began = time.monotonic()
                shop.call(CHAT, stream=True)
                newest(shop.alice, "paid")
                assert time.monotonic() - began < PAID_WITHIN_S
                assert shop.alice.balance == 991
            finally:
                shop.close()
