"""Upstreams fail in every way they can: callers get one clear error in their dialect, pay nothing, and learn nothing
of who the upstream is."""

from __future__ import annotations

import gzip
import json
import socket
from typing import Any

import anthropic
import openai
import pytest

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, RESPONSES, Endpoint, Tokens, frame, typed
from tests.flows.rig import Operator, Person, Reply, free_port
from tests.flows.upstream import Answer, Cut, plain, served, streamed

SECRETS = ["sk-operator-0123456789abcdef", "org-Xyz123456789", "https://api.provider.example/v1", "acct_12345"]
LEAKY = "Your key sk-operator-0123456789abcdef of org-Xyz123456789: see https://api.provider.example/v1/limits"

BOTH = pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def assert_failed(person: Person, reply: Reply, endpoint: Endpoint, status: int, code: str) -> None:
    """One error in the dialect's shape; nothing charged, nothing held, one line in the log."""
    assert reply.refusal == (endpoint.status(status), code)
    assert_shape(reply, endpoint)
    record = person.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["error_code"], record["credits_charged"]) == ("failed", code, 0)
    person.assert_paid_nothing()


def assert_shape(reply: Reply, endpoint: Endpoint) -> None:
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"] == reply.headers["request-id"]
    if endpoint.is_anthropic:
        assert (reply.json["type"], reply.json["request_id"]) == ("error", reply.headers["request-id"])
    else:
        assert set(reply.error) >= {"message", "type", "param", "code"}
    for secret in [*SECRETS, "127.0.0.1", "theirs", "scripted", "<html"]:
        assert secret.encode() not in reply.body


@EACH
@BOTH
def test_an_upstream_that_takes_no_connection(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    add_upstream(endpoint, served(endpoint), base_url=f"http://127.0.0.1:{free_port()}")
    reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
    assert_failed(alice, reply, endpoint, 502, "upstream_error")


@EACH
@BOTH
def test_an_upstream_that_says_nothing(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        add_upstream(endpoint, served(endpoint), base_url=f"http://127.0.0.1:{port}", first_byte_timeout_ms=300)
        reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
    assert_failed(alice, reply, endpoint, 504, "upstream_timeout")


STATUSES = {
    "the caller's mistakes": {
        400: (400, "invalid_request"),
        413: (413, "body_too_large"),
        422: (422, "invalid_request"),
    },
    "the operator's mistakes": dict.fromkeys((401, 402, 403, 404), (502, "upstream_error")),
    "failures": dict.fromkeys((408, 500, 502, 504), (502, "upstream_error")),
    "overload": dict.fromkeys((429, 503, 529), (503, "upstream_overloaded")),
}


@EACH
@BOTH
@pytest.mark.parametrize("kind", list(STATUSES))
def test_an_upstreams_error_is_handed_on_without_its_name(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool, kind: str
) -> None:
    error = {"type": "error", "error": {"message": LEAKY, "type": "theirs", "code": "acct_12345", "param": None}}
    headers = {"retry_after": "7", "anthropic_organization_id": "org-Xyz123456789"}
    script = add_upstream(endpoint, served(endpoint))
    for theirs, (ours, code) in STATUSES[kind].items():
        script.answers(plain(json.dumps(error).encode(), status=theirs, **headers))
        reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
        assert_failed(alice, reply, endpoint, ours, code)
        assert not [name for name in reply.headers if "organization" in name]
        assert reply.headers.get("retry-after") == ("7" if code == "upstream_overloaded" else None)
    assert len(script.calls) == len(STATUSES[kind])


def test_a_prompt_that_is_too_long_upstream_says_so(alice: Person, add_upstream: AddUpstream) -> None:
    error = {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "prompt is too long: 250000 tokens"},
    }
    add_upstream(MESSAGES, plain(json.dumps(error).encode(), status=400))
    reply = alice.call(MESSAGES.path, MESSAGES.body())
    assert_failed(alice, reply, MESSAGES, 400, "context_length_exceeded")
    assert "prompt is too long: 250000 tokens" in reply.error["message"]


HTML = b"<html><body>nginx at https://api.provider.example/v1</body></html>"
GARBAGE: list[tuple[str, Answer]] = [
    ("an HTML page with 500", plain(HTML, status=500, content_type="text/html")),
    ("an HTML page with 200", plain(HTML, content_type="text/html")),
    ("an HTML page with 400", plain(HTML, status=400, content_type="text/html")),
    ("an empty body", plain(b"")),
    ("half a JSON object", plain(b'{"id": "x", "choi')),
    ("a JSON array", plain(b"[1, 2]")),
    ("JSON that is no reply", plain(b'{"hello": "world"}')),
    ("bad UTF-8", plain(b'{"id": "\xff\xfe"}')),
    ("deep nesting", plain(b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    ("an error with 200", plain(b'{"type": "error", "error": {"message": "It broke", "type": "api_error"}}')),
    ("a compressed body", plain(gzip.compress(b"{}"), content_encoding="gzip")),
    ("a redirect", plain(b"", status=307, location="http://127.0.0.1:1/v1/elsewhere")),
    ("no HTTP at all", Answer(raw=b"SSH-2.0-OpenSSH_9.2\r\n")),
    ("nothing", Answer(raw=b"")),
    ("a body that breaks off", Answer(200, {"content-length": "500", "content-type": "application/json"}, [b"{", Cut])),
    ("a head that breaks off", Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-le")),
]


@EACH
@pytest.mark.parametrize("start", [0, 8], ids=["first half", "second half"])
def test_an_upstream_that_talks_nonsense(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, start: int
) -> None:
    # In two halves: ten failures in a row would open the route's circuit.
    script = add_upstream(endpoint, served(endpoint))
    for what, answer in GARBAGE[start : start + 8]:
        script.answers(answer)
        before = len(script.calls)
        reply = alice.call(endpoint.path, endpoint.body())
        status, code = (400, "invalid_request") if answer.status == 400 else (502, "upstream_error")
        assert reply.refusal == (status, code), what
        assert_failed(alice, reply, endpoint, status, code)
        # A connection that ends before a reply may be one that was kept too long: that alone is asked again.
        assert len(script.calls) - before in ({1, 2, 3} if what == "nothing" else {1}), what


def error_of(endpoint: Endpoint, events: list[Any]) -> Any:
    """The error that ended a stream."""
    last = events[-1]
    if endpoint is RESPONSES:
        assert last["type"] == "response.failed"
        return last["response"]["error"]
    if endpoint is not CHAT:
        assert last["type"] == "error"
    return last["error"]


def overloaded_event(endpoint: Endpoint) -> bytes:
    error = {"type": "overloaded_error", "code": "server_is_overloaded", "message": f"Overloaded. {LEAKY}"}
    if endpoint is CHAT:
        return frame({"id": "x", "error": {**error, "code": 529}, "choices": []})
    return typed({"type": "error", "error": error, "sequence_number": 9})


BROKEN = {
    "the connection breaks": [Cut],
    "it ends without an end": [],
    "an error event": None,
    "an event that is no JSON": [b"data: {nonsense\n\n"],
}


@EACH
@pytest.mark.parametrize("how", list(BROKEN))
def test_a_stream_that_breaks_ends_with_an_error_and_is_free(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, how: str
) -> None:
    begun: list[Any] = endpoint.events()[:3] if endpoint is not IMAGES else endpoint.events()[:1]
    breaking = BROKEN[how]
    rest: list[Any] = [overloaded_event(endpoint)] if breaking is None else breaking
    add_upstream(endpoint, streamed([*begun, 0.05, *rest]))
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    assert reply.status == 200
    code = "upstream_overloaded" if how == "an error event" else "upstream_error"
    error = error_of(endpoint, reply.events)
    assert error["code"] == code or (endpoint is RESPONSES and error["code"])
    assert b"hypereal" not in reply.body.replace(b"hypereal.", b"")
    for secret in SECRETS:
        assert secret.encode() not in reply.body
    record = alice.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["error_code"], record["credits_charged"]) == ("failed", code, 0)
    alice.assert_paid_nothing()


@EACH
def test_an_error_before_anything_was_said_is_a_plain_error(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    add_upstream(endpoint, streamed([overloaded_event(endpoint)]))
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    assert_failed(alice, reply, endpoint, 503, "upstream_overloaded")


@EACH
def test_a_stream_that_falls_silent_times_out(alice: Person, add_upstream: AddUpstream, endpoint: Endpoint) -> None:
    script = add_upstream(endpoint, streamed([endpoint.events()[0], 30.0]), idle_timeout_ms=500)
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    record = alice.record_of(reply.headers["x-request-id"])
    assert (record["status"], record["error_code"]) == ("failed", "upstream_timeout")
    assert b"did not answer in time" in reply.body
    alice.assert_paid_nothing()
    assert script.completed == 0


def test_openais_sdk_sees_a_broken_stream(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(CHAT, streamed([*CHAT.events()[:3], 0.05, Cut]))
    with alice.openai() as client:
        stream = client.chat.completions.create(
            model=CHAT.model, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="broke off"):
            list(stream)


def test_anthropics_sdk_sees_a_broken_stream(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(MESSAGES, streamed([*MESSAGES.events()[:4], 0.05, Cut]))
    with (
        alice.anthropic() as client,
        pytest.raises(anthropic.APIError, match="broke off"),
        client.messages.stream(
            model=MESSAGES.model, max_tokens=100, messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        list(stream)


@EACH
@BOTH
@pytest.mark.parametrize("status", [429, 500, 529])
def test_the_next_route_takes_over(
    alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool, status: int
) -> None:
    busy = add_upstream(endpoint, plain(b"{}", status=status, retry_after="30"), priority=0)
    spare = add_upstream(endpoint, served(endpoint, Tokens(input=100, output=10)), priority=1)
    reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
    assert reply.status == 200
    assert (len(busy.calls), len(spare.calls)) == (1, 1)
    assert alice.balance == 1_000 - bill(endpoint.model, input=100, output=10)
    assert alice.record_of(reply.headers["x-request-id"])["route"] == spare.route_id


def test_when_every_route_is_busy_the_last_one_says_when_to_come_back(alice: Person, add_upstream: AddUpstream) -> None:
    scripts = [
        add_upstream(MESSAGES, plain(b"{}", status=529, retry_after=str(seconds)), priority=seconds)
        for seconds in (3, 9)
    ]
    reply = alice.call(MESSAGES.path, MESSAGES.body())
    assert_failed(alice, reply, MESSAGES, 503, "upstream_overloaded")
    assert (reply.error["type"], reply.headers["retry-after"]) == ("overloaded_error", "9")
    assert [len(script.calls) for script in scripts] == [1, 1]


def test_nothing_is_tried_again_once_the_caller_has_heard_something(alice: Person, add_upstream: AddUpstream) -> None:
    add_upstream(CHAT, streamed([*CHAT.events()[:3], 0.05, Cut]), priority=0)
    spare = add_upstream(CHAT, served(CHAT), priority=1)
    alice.call(CHAT.path, CHAT.body(stream=True))
    alice.assert_paid_nothing()
    assert spare.calls == []


def test_a_session_stays_on_its_route(alice: Person, add_upstream: AddUpstream) -> None:
    scripts = [add_upstream(CHAT, served(CHAT)) for _ in range(3)]
    for session in range(5):
        before = [len(script.calls) for script in scripts]
        for _ in range(4):
            alice.call(CHAT.path, CHAT.body(), x_session_id=f"session {session}")
        grown = [len(script.calls) - was for script, was in zip(scripts, before, strict=True)]
        assert sorted(grown) == [0, 0, 4]
    record = alice.newest_record()
    assert record["session_id"] == "session 4"


@EACH
def test_an_upstream_sees_the_routes_credential_and_nothing_of_the_callers(
    alice: Person, add_upstream: AddUpstream, operator: Operator, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint))
    operator.run("set_route", script.route_id, "--credential-env", "SCRIPTED_UPSTREAM_KEY")
    operator.tell_server()
    reply = alice.call(
        endpoint.path,
        endpoint.body(),
        x_api_key=alice.key,
        x_hypereal_cache="true",
        x_hypereal_secret="1",
        x_session_id="a session",
        x_forwarded_for="1.2.3.4",
        cookie="a=b",
        anthropic_beta="context-1m-2025-08-07,effort-2025-11-24",
        anthropic_version="2023-06-01",
        anthropic_dangerous_direct_browser_access="true",
        x_stainless_lang="python",
    )
    assert reply.status == 200
    (call,) = script.calls
    sent = set(call.headers) - {"host", "content-length"}
    ours = {"content-type", "accept-encoding", "user-agent"}
    if endpoint.is_anthropic:
        assert sent == {*ours, "x-api-key", "anthropic-version", "anthropic-beta"}
        assert call.headers["x-api-key"] == "sk-scripted"
        # The endpoint's model reads 200,000 tokens here: see the next test.
        assert call.headers["anthropic-beta"] == "effort-2025-11-24"
    else:
        assert sent == {*ours, "authorization"}
        assert call.headers["authorization"] == "Bearer sk-scripted"
    assert alice.key not in str(call.headers)
    assert alice.key.encode() not in call.body
    assert call.path == endpoint.upstream_path
    assert call.json["model"] == "theirs"


@pytest.mark.parametrize(
    ("model", "forwarded"),
    [("claude-haiku-latest", "effort-2025-11-24"), ("claude-sonnet-4-7", "context-1m-2025-08-07,effort-2025-11-24")],
)
def test_nobody_asks_for_more_context_than_the_model_has_here(
    alice: Person, add_upstream: AddUpstream, model: str, forwarded: str
) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES), model=model)
    asked = "context-1m-2025-08-07,effort-2025-11-24"
    assert alice.call(MESSAGES.path, MESSAGES.body(model=model), anthropic_beta=asked).status == 200
    body = {name: value for name, value in MESSAGES.body(model=model).items() if name != "max_tokens"}
    alice.call("/v1/messages/count_tokens", body, anthropic_beta=asked)
    assert [call.headers["anthropic-beta"] for call in script.calls] == [forwarded, forwarded]


def test_a_route_that_keeps_failing_is_left_alone_for_a_while(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(MESSAGES, plain(b"{}", status=500))
    for _ in range(10):
        assert alice.call(MESSAGES.path, MESSAGES.body()).refusal == (502, "upstream_error")
    shed = alice.call(MESSAGES.path, MESSAGES.body())
    assert shed.refusal == (529, "circuit_open")
    assert (shed.error["type"], int(shed.headers["retry-after"]) >= 1) == ("overloaded_error", True)
    assert len(script.calls) == 10
    alice.assert_paid_nothing()


def test_an_open_circuit_sends_calls_to_the_next_route(alice: Person, add_upstream: AddUpstream) -> None:
    failing = add_upstream(CHAT, plain(b"{}", status=500), priority=0)
    spare = add_upstream(CHAT, served(CHAT), priority=1)
    replies = [alice.call(CHAT.path, CHAT.body()) for _ in range(14)]
    assert {reply.status for reply in replies} == {200}
    assert (len(failing.calls), len(spare.calls)) == (10, 14)


def test_routes_that_are_left_alone_count_as_no_attempt(alice: Person, add_upstream: AddUpstream) -> None:
    failing = [add_upstream(CHAT, plain(b"{}", status=500), priority=number) for number in range(3)]
    last = add_upstream(CHAT, served(CHAT), priority=3)
    for _ in range(10):
        assert alice.call(CHAT.path, CHAT.body()).refusal == (502, "upstream_error")  # three attempts, no more
    assert (len(last.calls), [len(script.calls) for script in failing]) == (0, [10, 10, 10])
    assert alice.call(CHAT.path, CHAT.body()).status == 200
    assert (len(last.calls), [len(script.calls) for script in failing]) == (1, [10, 10, 10])


def test_the_callers_own_mistakes_open_no_circuit(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(CHAT, plain(b'{"error": {"message": "no"}}', status=400))
    for _ in range(14):
        assert alice.call(CHAT.path, CHAT.body()).refusal == (400, "invalid_request")
    script.answer = served(CHAT)
    reply = alice.call(CHAT.path, CHAT.body())
    assert (reply.status, reply.headers["x-hypereal-managed-circuit"]) == (200, "closed")
