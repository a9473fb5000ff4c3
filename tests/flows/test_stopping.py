"""A server that is asked to stop: who began may finish, whoever takes too long is told, and every bill is made."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from tests.flows.bills import bill
from tests.flows.conftest import own_stores
from tests.flows.endpoints import CHAT, MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint, Tokens
from tests.flows.rig import Operator, Person, Server, events_of, eventually
from tests.flows.upstream import Answer, Received, ScriptedUpstream, plain, streamed

TOKENS = Tokens(input=1_000, output=400)
GRACE_S = 1.5


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Server]:
    """A gateway whose streams get a second and a half to end."""
    with own_stores("own") as stores:
        server = Server(tmp_path / "data", stores, module="tests.faults.serve")
        server.environ["HASTE"] = json.dumps({"grace": GRACE_S})
        server.start()
        yield server
        if server.is_running:
            server.kill()


@pytest.fixture
def operator(hasty: Server) -> Iterator[Operator]:
    operator = Operator(hasty)
    yield operator
    operator.close()


class Listener(threading.Thread):
    """A caller who takes what comes until it ends."""

    def __init__(self, person: Person, endpoint: Endpoint, *, stream: bool) -> None:
        super().__init__(daemon=True)
        self.endpoint, self.body, self.status, self.broke = endpoint, b"", 0, False
        self._person, self._asked = person, endpoint.body(stream=stream)
        self.start()

    def run(self) -> None:
        try:
            with self._person.stream(self.endpoint.path, self._asked) as reply:
                self.status = reply.status_code
                for part in reply.iter_raw():
                    self.body += part
        except httpx2.TransportError:
            self.broke = True


def slow(endpoint: Endpoint, *, pause_s: float) -> Callable[[Received], Answer]:
    """A stream says half of its answer, pauses, and ends; a plain reply pauses before it begins."""
    events, whole = endpoint.events(TOKENS), plain(endpoint.reply(TOKENS))
    half = len(events) // 2

    def answer(received: Received) -> Answer:
        if received.json.get("stream"):
            return streamed([*events[:half], pause_s, *events[half:]])
        return replace(whole, steps=[pause_s, *whole.steps])

    return answer


def add_upstreams(operator: Operator, scripted: ScriptedUpstream, *, pause_s: float) -> None:
    for endpoint in TEXT_ENDPOINTS:
        script = scripted.script(slow(endpoint, pause_s=pause_s))
        operator.run(
            "add_route", endpoint.model, "--provider", "scripted", "--dialect", endpoint.dialect,
            "--base-url", script.base_url + endpoint.base_path, "--upstream-model", "theirs",
        )  # fmt: skip
    operator.tell_server()


def test_whoever_takes_too_long_is_told_and_pays_nothing(
    hasty: Server, operator: Operator, scripted: ScriptedUpstream
) -> None:
    add_upstreams(operator, scripted, pause_s=20.0)
    alice = operator.person("alice")
    streams = [Listener(alice, endpoint, stream=True) for endpoint in TEXT_ENDPOINTS]
    eventually(lambda: all(b"Twel" in stream.body for stream in streams))
    waiting = [Listener(alice, endpoint, stream=False) for endpoint in (CHAT, MESSAGES)]
    eventually(lambda: alice.held > 0)
    time.sleep(0.3)
    began = time.monotonic()
    status = hasty.stop()
    assert (status, GRACE_S <= time.monotonic() - began < GRACE_S + 4) == (0, True)
    for listener in (*streams, *waiting):
        listener.join(timeout=5)
        assert not listener.broke
        assert b"internal_error" in listener.body
    assert [stream.status for stream in streams] == [200] * 3
    chat, responses, messages = (events_of(stream.body) for stream in streams)
    assert chat[-1]["error"]["code"] == "internal_error"
    assert responses[-1]["type"] == "response.failed"
    assert (messages[-1]["type"], messages[-1]["error"]["code"]) == ("error", "internal_error")
    assert [(listener.status, json.loads(listener.body)["error"]["code"]) for listener in waiting] == [
        (500, "internal_error")
    ] * 2
    assert (alice.balance, alice.held) == (1_000, 0)
    records = alice.records()
    assert [(record["status"], record["credits_charged"]) for record in records] == [("failed", 0)] * 5
    assert operator.run("verify_ledger")["problems"] == []
    assert "Traceback" not in hasty.log


def test_whoever_ends_in_time_is_served_and_billed(
    hasty: Server, operator: Operator, scripted: ScriptedUpstream
) -> None:
    add_upstreams(operator, scripted, pause_s=1.0)
    alice = operator.person("alice")
    listeners = [Listener(alice, endpoint, stream=stream) for endpoint in TEXT_ENDPOINTS for stream in (True, False)]
    eventually(lambda: all(b"Twel" in listener.body for listener in listeners[::2]))
    assert hasty.stop() == 0
    for listener in listeners:
        listener.join(timeout=5)
        assert (listener.status, listener.broke) == (200, False)
        assert b"credits_charged" in listener.body
    owed = sum(2 * bill(endpoint.model, input=1_000, output=400) for endpoint in TEXT_ENDPOINTS)
    assert (alice.balance, alice.held) == (1_000 - owed, 0)
    assert {record["status"] for record in alice.records()} == {"succeeded"}


def test_a_stopping_server_takes_no_new_calls_but_finishes_the_old(
    hasty: Server, operator: Operator, scripted: ScriptedUpstream
) -> None:
    add_upstreams(operator, scripted, pause_s=1.0)
    alice = operator.person("alice")
    old = Listener(alice, RESPONSES, stream=True)
    eventually(lambda: b"Twel" in old.body)
    stopping = threading.Thread(target=hasty.stop, daemon=True)
    stopping.start()
    time.sleep(0.4)
    with pytest.raises(httpx2.ConnectError):
        alice.call(CHAT.path, CHAT.body())
    stopping.join(timeout=10)
    old.join(timeout=5)
    assert b"response.completed" in old.body
