"""Whatever a caller sends, it gets one readable error in its dialect, pays nothing, and the server stays calm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.flows.endpoints import CHAT, ENDPOINTS, IMAGES, MESSAGES, RESPONSES, Endpoint
from tests.flows.raw_socket import Connection
from tests.flows.rig import Person, Reply, Server

CANARY = "canary-4f1d0c9b"
EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def assert_error(reply: Reply, endpoint: Endpoint, status: int, code: str) -> None:
    assert reply.headers["content-type"] == "application/json"
    assert reply.refusal == (status, code)
    assert reply.headers["x-request-id"] == reply.headers["request-id"]
    assert reply.headers["x-request-id"].startswith("req_")
    if endpoint.is_anthropic:
        assert set(reply.json) == {"type", "error", "request_id"}
        assert (reply.json["type"], reply.json["request_id"]) == ("error", reply.headers["request-id"])
    else:
        assert set(reply.json) == {"error"}
        assert set(reply.error) >= {"message", "type", "param", "code"}
    assert reply.error["message"]
    assert b"Traceback" not in reply.body


def whole(endpoint: Endpoint) -> bytes:
    return json.dumps(endpoint.body(CANARY)).encode()


def with_raw(endpoint: Endpoint, name: str, raw: bytes) -> bytes:
    """The body with a field whose JSON is exactly `raw`; a field that is there already comes twice, the last counts."""
    return whole(endpoint)[:-1] + b', "%b": %b}' % (name.encode(), raw)


BODIES: dict[str, Callable[[Endpoint], bytes]] = {
    "nothing": lambda _: b"",
    "blanks": lambda _: b"  \n ",
    "a word": lambda _: b"hello",
    "half an object": lambda endpoint: whole(endpoint)[:-1],
    "a trailing comma": lambda endpoint: whole(endpoint)[:-1] + b",}",
    "two objects": lambda endpoint: whole(endpoint) * 2,
    "a number": lambda _: b"7",
    "a string": lambda _: b'"hello"',
    "null": lambda _: b"null",
    "true": lambda _: b"true",
    "an array": lambda endpoint: b"[" + whole(endpoint) + b"]",
    "an empty object": lambda _: b"{}",
    "no model": lambda endpoint: whole(endpoint).replace(b'"model"', b'"mode"', 1),
    "bad UTF-8": lambda endpoint: whole(endpoint).replace(CANARY.encode(), b"\xff\xfe\xfd"),
    "UTF-16": lambda endpoint: whole(endpoint).decode().encode("utf-16"),
    "a byte order mark": lambda endpoint: b"\xef\xbb\xbf" + whole(endpoint),
    "NUL bytes": lambda endpoint: whole(endpoint).replace(CANARY.encode(), b"a\0b"),
    "deep arrays": lambda endpoint: with_raw(endpoint, "metadata", b"[" * 100_000 + b"]" * 100_000),
    "deep objects": lambda endpoint: with_raw(endpoint, "metadata", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "deep arrays, unclosed": lambda endpoint: with_raw(endpoint, "messages", b"[" * 100_000),
    "deep content": lambda endpoint: with_raw(
        endpoint, {"chat": "messages", "messages": "messages", "responses": "input"}.get(endpoint.name, "prompt"),
        b'[{"role": "user", "content": ' * 50_000 + b"1" + b"}]" * 50_000,
    ),
    "NaN": lambda endpoint: with_raw(endpoint, "n", b"NaN"),
    "Infinity": lambda endpoint: with_raw(endpoint, "temperature", b"-Infinity"),
    "a model that is a number": lambda endpoint: with_raw(endpoint, "model", b"7"),
    "a model that is null": lambda endpoint: with_raw(endpoint, "model", b"null"),
    "an empty model": lambda endpoint: with_raw(endpoint, "model", b'""'),
    "a model with NUL": lambda endpoint: with_raw(endpoint, "model", b'"a\\u0000b"'),
    "a model with a line break": lambda endpoint: with_raw(endpoint, "model", b'"gpt\\r\\nset-cookie: a=b"'),
    "a model with a lone surrogate": lambda endpoint: with_raw(endpoint, "model", b'"\\ud800"'),
    "a very long model": lambda endpoint: with_raw(endpoint, "model", b'"' + b"m" * 10_000 + b'"'),
    "a stream that is a word": lambda endpoint: with_raw(endpoint, "stream", b'"yes"'),
    "a thousand and one fields": lambda endpoint: whole(endpoint)[:-1]
    + b"".join(b', "f%d": 1' % number for number in range(1_001))
    + b"}",
}  # fmt: skip


@EACH
@pytest.mark.parametrize("what", list(BODIES))
def test_what_is_no_request_is_refused(alice: Person, endpoint: Endpoint, what: str) -> None:
    assert_error(alice.call(endpoint.path, BODIES[what](endpoint)), endpoint, 400, "invalid_request")
    alice.assert_paid_nothing()


NUMBERS = {
    "-1": b"-1",
    "0": b"0",
    "2^31": b"2147483648",
    "2^63": b"9223372036854775808",
    "2^64 - 22904970": b"18446744073686646784",
    "5000 digits": b"9" * 5_000,
    "1e400": b"1e400",
    "1.5": b"1.5",
    "a word": b'"many"',
    "a one in quotes": b'"1"',
    "true": b"true",
    "a list": b"[1]",
    "an object": b'{"a": 1}',
}
COUNTS = [
    (endpoint, name)
    for endpoint, names in (
        (CHAT, ("n", "max_tokens", "max_completion_tokens")),
        (RESPONSES, ("max_output_tokens",)),
        (MESSAGES, ("max_tokens",)),
        (IMAGES, ("n",)),
    )
    for name in names
]


@pytest.mark.parametrize(("endpoint", "name"), COUNTS, ids=[f"{endpoint.name}-{name}" for endpoint, name in COUNTS])
def test_numbers_that_make_no_sense_are_refused(alice: Person, endpoint: Endpoint, name: str) -> None:
    for what, raw in NUMBERS.items():
        reply = alice.call(endpoint.path, with_raw(endpoint, name, raw))
        assert (reply.status, what) == (400, what)
        assert_error(reply, endpoint, 400, "invalid_request")
        assert endpoint.is_anthropic or reply.error["param"] == name
    alice.assert_paid_nothing()


NESTED = [
    (MESSAGES, "thinking", b'{"type": "enabled", "budget_tokens": %b}', "thinking.budget_tokens"),
    (CHAT, "thinking", b'{"budget_tokens": %b}', "thinking.budget_tokens"),
    (CHAT, "reasoning", b'{"max_tokens": %b}', "reasoning.max_tokens"),
    (CHAT, "thinking_budget", b"%b", "thinking_budget"),
    (IMAGES, "partial_images", b"%b", "partial_images"),
    (
        MESSAGES,
        "tools",
        b'[{"type": "web_search_20250305", "name": "web_search", "max_uses": %b}]',
        "tools[0].max_uses",
    ),
]


@pytest.mark.parametrize(("endpoint", "name", "pattern", "where"), NESTED, ids=[row[3] for row in NESTED])
def test_numbers_within_that_make_no_sense_are_refused(
    alice: Person, endpoint: Endpoint, name: str, pattern: bytes, where: str
) -> None:
    for what, raw in NUMBERS.items():
        if what == "0" and where != "tools[0].max_uses":
            continue  # no budget, no previews
        reply = alice.call(endpoint.path, with_raw(endpoint, name, pattern % raw))
        assert (reply.status, what) == (400, what)
        assert where in reply.error["message"]
    for word in (b"NaN", b"-Infinity"):
        assert alice.call(endpoint.path, with_raw(endpoint, name, pattern % word)).refusal == (400, "invalid_request")
    alice.assert_paid_nothing()


@pytest.mark.parametrize(("endpoint", "name"), COUNTS, ids=[f"{endpoint.name}-{name}" for endpoint, name in COUNTS])
def test_what_is_no_number_at_all_is_no_request(alice: Person, endpoint: Endpoint, name: str) -> None:
    for word in (b"NaN", b"Infinity", b"-Infinity", b"0x10", b"1_000", b"+1", b"01", b".5"):
        assert alice.call(endpoint.path, with_raw(endpoint, name, word)).refusal == (400, "invalid_request"), word
    alice.assert_paid_nothing()


@EACH
def test_unknown_models_are_named(alice: Person, endpoint: Endpoint) -> None:
    reply = alice.call(endpoint.path, endpoint.body(model="gpt-9 turbo <script>"))
    assert_error(reply, endpoint, 404, "model_not_found")
    assert "gpt-9 turbo <script>" in reply.error["message"]
    alice.assert_paid_nothing()


@EACH
def test_of_a_field_that_comes_twice_the_last_one_counts(alice: Person, endpoint: Endpoint) -> None:
    reply = alice.call(endpoint.path, with_raw(endpoint, "model", b'"no-such-model"'))
    assert_error(reply, endpoint, 404, "model_not_found")
    again = alice.call(endpoint.path, with_raw(endpoint, "model", json.dumps(endpoint.model).encode()))
    assert (again.status, again.billing["model"]) == (200, endpoint.model)


FORBIDDEN: dict[str, list[tuple[str, Any]]] = {
    "chat": [
        ("service_tier", "priority"),
        ("models", ["a"]),
        ("provider", {"order": ["x"]}),
        ("plugins", [{"id": "x"}]),
    ],
    "responses": [("background", True), ("service_tier", "flex"), ("store", True)],
    "messages": [("service_tier", "fast"), ("mcp_servers", [{"url": "https://x"}]), ("speed", "fast")],
    "images": [("quality", "ultra"), ("size", "9999x9999"), ("images", ["x"])],
}


@EACH
def test_fields_that_change_price_model_or_data_are_refused_by_name(alice: Person, endpoint: Endpoint) -> None:
    for name, value in FORBIDDEN[endpoint.name]:
        reply = alice.call(endpoint.path, endpoint.body(**{name: value}))
        assert (reply.status, reply.code, name in reply.error["message"]) == (400, "unsupported_field", True), name
    alice.assert_paid_nothing()


IDS: dict[str, list[tuple[str, Any]]] = {
    "chat": [("previous_response_id", "resp_1"), ("cached_content", "cachedContents/1")],
    "responses": [
        ("previous_response_id", "resp_1"),
        ("conversation", {"id": "conv_1"}),
        ("prompt", {"id": "pmpt_1"}),
        ("input", [{"type": "item_reference", "id": "msg_1"}]),
        ("input", [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]),
    ],
    "messages": [("container", "cont_1")],
    "images": [("file_ids", ["file-1"])],
}


@EACH
def test_ids_of_others_are_not_found(alice: Person, endpoint: Endpoint) -> None:
    for name, value in IDS[endpoint.name]:
        assert_error(alice.call(endpoint.path, endpoint.body(**{name: value})), endpoint, 404, "not_found")
    alice.assert_paid_nothing()


def test_what_a_caller_calls_a_tool_cannot_break_the_header_that_names_it(alice: Person) -> None:
    own = {"type": "function", "name": "f", "parameters": {}}
    for kind in ("web_search\r\nx-evil: 1", "web_search \u20ac,\x00", "web_search" + "y" * 5_000):
        reply = alice.call(RESPONSES.path, RESPONSES.body(tools=[own, {"type": kind}]))
        assert (reply.status, "x-evil" in reply.headers) == (200, False)
        assert reply.headers["x-hypereal-adapted"].startswith("tools[1] web_search")
    many = [own, *({"type": "web_search"} for _ in range(3_000))]
    reply = alice.call(RESPONSES.path, RESPONSES.body(tools=many))
    assert (reply.status, len(reply.headers["x-hypereal-adapted"]) < 3_000) == (200, True)


@EACH
def test_odd_text_travels_unharmed(alice: Person, endpoint: Endpoint) -> None:
    text = 'quotes " and \\ and \u2028 and \U0001f600 and a tab\t' + "e\u0301" * 10
    reply = alice.call(endpoint.path, endpoint.body(text))
    assert reply.status == 200


@EACH
def test_a_lone_surrogate_is_no_crash(alice: Person, endpoint: Endpoint) -> None:
    reply = alice.call(endpoint.path, whole(endpoint).replace(CANARY.encode(), b"\\ud800 \\udfff \\u0000"))
    assert reply.status in {200, 400}
    if reply.status == 400:
        assert reply.code == "invalid_request"


@EACH
def test_odd_headers_are_no_crash(alice: Person, endpoint: Endpoint) -> None:
    for name, value in {
        "x_session_id": "s" * 5_000,
        "x-claude-code-session-id": "\t;",
        "user_agent": "\xe9\xff agent",
        "x_hypereal_strict_max_tokens": "perhaps",
        "x_hypereal_cache": "\xff",
        "accept": "text/html",
        "content_type": "text/plain",
        "x_forwarded_for": "not an address",
        "host": "localhost/#@evil",
    }.items():
        headers = {name.replace("_", "-"): value.encode("latin-1")}
        reply = _call_with_bytes(alice, endpoint, headers)
        assert reply.status == 200, name
        assert reply.headers["content-type"] == "application/json"
    assert {record["status"] for record in alice.records()} == {"succeeded"}


def _call_with_bytes(person: Person, endpoint: Endpoint, headers: dict[str, bytes]) -> Reply:
    content = json.dumps(endpoint.body()).encode()
    with Connection(person.server.port) as connection:
        lines = [b"POST %b HTTP/1.1" % endpoint.path.encode(), b"authorization: Bearer " + person.key.encode()]
        lines += [] if "host" in headers else [b"host: x"]
        lines += [b"%b: %b" % (name.encode(), value) for name, value in headers.items()]
        lines += [b"content-length: %d" % len(content)]
        connection.send(b"\r\n".join(lines) + b"\r\n\r\n" + content)
        return connection.reply()


def test_the_log_holds_no_traceback_no_key_and_no_prompt(server: Server, alice: Person) -> None:
    """Of all the tests before this one, too: they share the server."""
    for endpoint in ENDPOINTS:
        alice.call(endpoint.path, endpoint.body(CANARY))
    log = server.log
    assert "Traceback" not in log
    assert CANARY not in log
    assert alice.key not in log
    # The one that a first run shows its operator, and no other.
    assert len(set(re.findall(r"ck_[0-9A-Za-z]{42}", log))) == 1
