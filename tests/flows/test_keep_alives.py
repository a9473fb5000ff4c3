"""A caller hears of us within 20 s of silence, whatever its upstream does: agents warn their people after that."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import ENDPOINTS, MESSAGES, Endpoint, Tokens
from tests.flows.rig import Person
from tests.flows.upstream import Answer, served

SILENCE_S = 17.0
TOKENS = Tokens(input=100, output=10)


@dataclass
class Heard:
    """A stream as it came."""

    status: int = 0
    first_s: float = 0.0
    body: bytes = b""
    request_id: str = ""


@dataclass
class Listener:
    person: Person
    endpoint: Endpoint
    heard: Heard = field(default_factory=Heard)

    def listen(self) -> None:
        began = time.monotonic()
        with self.person.stream(self.endpoint.path, self.endpoint.body(stream=True)) as reply:
            self.heard.status, self.heard.request_id = reply.status_code, reply.headers["x-request-id"]
            for part in reply.iter_bytes():
                self.heard.first_s = self.heard.first_s or time.monotonic() - began
                self.heard.body += part


def test_streams_whose_upstream_says_nothing_for_long(alice: Person, add_upstream: AddUpstream) -> None:
    """Four dialects at once: each upstream is silent, then fails; chat and responses have another route to go."""
    for endpoint in ENDPOINTS:
        add_upstream(endpoint, Answer(500, {"content-length": "2"}, [b"{}"], pause_s=SILENCE_S), priority=0)
    rescued = ENDPOINTS[:2]
    for endpoint in rescued:
        add_upstream(endpoint, served(endpoint, TOKENS), priority=1)
    listeners = [Listener(alice, endpoint) for endpoint in ENDPOINTS]
    threads = [threading.Thread(target=listener.listen) for listener in listeners]
    sdk_error: list[BaseException] = []
    for thread in [*threads, sdk := threading.Thread(target=anthropics_sdk, args=(alice, sdk_error))]:
        thread.start()
    for thread in [*threads, sdk]:
        thread.join(timeout=60)
    for listener in listeners:
        endpoint, heard = listener.endpoint, listener.heard
        assert heard.status == 200, endpoint.name
        assert 14 < heard.first_s < SILENCE_S
        assert heard.body.startswith(b"event: ping" if endpoint is MESSAGES else b":")
        record = alice.record_of(heard.request_id)
        if endpoint in rescued:
            assert (record["status"], record["provider"]) == ("succeeded", "scripted")
            assert b"Twel" in heard.body
            assert b'"hypereal"' in heard.body
        else:
            assert (record["status"], record["error_code"], record["credits_charged"]) == (
                "failed",
                "upstream_error",
                0,
            )
            assert b"upstream_error" in heard.body
            assert b"[DONE]" not in heard.body
    assert "failed to serve this call" in str(sdk_error[0])
    assert alice.balance == 1_000 - sum(bill(endpoint.model, input=100, output=10) for endpoint in rescued)


def anthropics_sdk(person: Person, errors: list[BaseException]) -> None:
    """The official SDK takes pings before anything else, and the error after them."""
    with person.anthropic() as client:
        try:
            with client.messages.stream(
                model=MESSAGES.model, max_tokens=100, messages=[{"role": "user", "content": "Hi"}]
            ) as stream:
                list(stream)
        except Exception as error:
            errors.append(error)
