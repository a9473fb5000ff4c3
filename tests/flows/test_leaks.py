"""What a caller may learn of an upstream: nothing. And an upstream of a caller: what is listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT, ENDPOINTS, MESSAGES, TEXT_ENDPOINTS, Endpoint, frame, typed
from tests.flows.rig import Operator, Person, Reply
from tests.flows.upstream import Answer, Cut, Received, Script, plain, served, streamed

EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
BOTH = pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])

SECRETS = (
    "sk-operator-0123456789abcdef", "org-Xyz123456789", "api.provider.example", "acct_12345", "proj_abcdef12",
    "req_theirs0123456789", "cf-theirs", "10.1.2.3", "127.0.0.1", "nginx", "<html", "theirs.example",
)  # fmt: skip
WORDS = (
    "Your key sk-operator-0123456789abcdef of organization org-Xyz123456789 (project proj_abcdef12) at"
    " https://api.provider.example/v1/limits?acct=acct_12345 from 10.1.2.3, request req_theirs0123456789."
)
THEIR_HEADERS = {
    "openai-organization": "org-Xyz123456789",
    "openai-project": "proj_abcdef12",
    "openai-processing-ms": "17",
    "openai-version": "2020-10-01",
    "anthropic-organization-id": "org-Xyz123456789",
    "anthropic-ratelimit-unified-status": "allowed",
    "anthropic-ratelimit-requests-limit": "4711",
    "x-ratelimit-limit-requests": "4711",
    "x-ratelimit-remaining-tokens": "4711",
    "x-request-id": "req_theirs0123456789",
    "request-id": "req_theirs0123456789",
    "set-cookie": "__cf_bm=cf-theirs; path=/; domain=.theirs.example",
    "cf-ray": "cf-theirs",
    "server": "nginx/1.25 (10.1.2.3)",
    "via": "1.1 theirs.example",
    "x-should-retry": "true",
    "x-hypereal-managed-circuit": "theirs",
    "location": "https://api.provider.example/v1",
    "link": "<https://theirs.example>; rel=next",
}
OURS = {
    "date", "content-type", "content-length", "transfer-encoding", "cache-control", "x-accel-buffering", "connection",
    "x-request-id", "request-id", "retry-after", "x-hypereal-adapted", "x-hypereal-max-tokens",
    "x-hypereal-capacity-requests-remaining",
}  # fmt: skip
FAMILIES = ("x-hypereal-managed-", "x-hypereal-insurance-", "x-ratelimit-", "anthropic-ratelimit-")

EXPECTED = {
    400: (400, "invalid_request"),
    413: (413, "body_too_large"),
    422: (422, "invalid_request"),
    **dict.fromkeys((401, 402, 403, 404, 408, 500, 502, 504), (502, "upstream_error")),
    **dict.fromkeys((429, 503, 529), (503, "upstream_overloaded")),
}
ERROR = {"message": WORDS, "type": WORDS, "code": WORDS, "param": WORDS}
REPEATED = {502, 503, 504, 529}
"""Asked again up to twice, as far as the budget goes; ten failures open a circuit."""
BODIES = {
    "an error": (json.dumps({"type": "error", "error": ERROR, "request_id": WORDS}), "application/json"),
    "HTML": (f"<html><head><title>nginx</title></head><body>{WORDS}</body></html>", "text/html"),
    "HTML that is called JSON": (f"<html><body>{WORDS}</body></html>", "application/json"),
    "nothing": ("", "application/json"),
}


def assert_tells_nothing(reply: Reply) -> None:
    text = reply.body.decode() + str([value for name, value in reply.headers.items() if name != "date"])
    assert [secret for secret in SECRETS if secret in text] == []
    assert [name for name in reply.headers if name not in OURS and not name.startswith(FAMILIES)] == []
    assert "4711" not in reply.headers.values()


class Turns:
    """One provider after another, so that no circuit opens: the old one is disabled."""

    def __init__(self, operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint) -> None:
        self._operator, self._add, self._endpoint = operator, add_upstream, endpoint
        self._script: Script | None = None

    def over(self, answers: dict[Any, Answer]) -> Iterator[tuple[Any, Answer]]:
        left = 0
        for what, answer in answers.items():
            left -= 3 if answer.status in REPEATED else 1
            if left < 0 or self._script is None:
                if self._script is not None:
                    self._operator.run("set_route", self._script.route_id, "--disable")
                self._script, left = self._add(self._endpoint, answer), 6
            self._script.answers(answer)
            yield what, answer


@EACH
@BOTH
def test_no_error_says_who_the_upstream_is(
    alice: Person, operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool
) -> None:
    answers = {
        (status, what, told): Answer(
            status,
            {**THEIR_HEADERS, **told_header, "content-type": kind, "content-length": str(len(text))},
            [text.encode()],
        )
        for status, (_, code) in EXPECTED.items()
        for what, (text, kind) in list(BODIES.items())[: 2 if is_stream else None]
        for told, told_header in {"5": {}, "7": {"retry-after": "7"}}.items()
        if told == "5" or (code == "upstream_overloaded" and what == "an error")
    }
    for (status, what, told), _ in Turns(operator, add_upstream, endpoint).over(answers):
        reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
        ours, code = EXPECTED[status]
        assert reply.refusal == (endpoint.status(ours), code), (status, what)
        assert reply.headers["content-type"] == "application/json"
        assert_tells_nothing(reply)
        assert reply.headers.get("retry-after") == (told if code == "upstream_overloaded" else None)
    alice.assert_paid_nothing()


@EACH
@BOTH
def test_no_success_does_either(alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, is_stream: bool) -> None:
    def answer(received: Received) -> Answer:
        answered = served(endpoint)(received)
        return Answer(200, {**THEIR_HEADERS, **answered.headers}, answered.steps, is_chunked=answered.is_chunked)

    add_upstream(endpoint, answer)
    reply = alice.call(endpoint.path, endpoint.body(stream=is_stream))
    assert reply.status == 200
    assert_tells_nothing(reply)


@EACH
@pytest.mark.parametrize("when", ["before a word", "after a word"])
def test_no_error_within_a_stream_does(alice: Person, add_upstream: AddUpstream, endpoint: Endpoint, when: str) -> None:
    failing = (
        frame({"error": ERROR, "choices": []})
        if endpoint is CHAT
        else typed({"type": "error", "error": ERROR, "request_id": WORDS, "message": WORDS, "code": WORDS})
    )
    begun = [] if when == "before a word" else endpoint.events()[: 1 if endpoint.name == "images" else 3]
    add_upstream(endpoint, streamed([*begun, 0.05, failing, Cut], openai_organization="org-Xyz123456789"))
    reply = alice.call(endpoint.path, endpoint.body(stream=True))
    assert reply.status == (200 if begun else 502)
    assert b"upstream_error" in reply.body
    assert_tells_nothing(reply)
    alice.assert_paid_nothing()


PAIRS = [(asked, spoken) for asked in TEXT_ENDPOINTS for spoken in TEXT_ENDPOINTS if asked is not spoken]


@pytest.mark.parametrize(("asked", "spoken"), PAIRS, ids=lambda endpoint: endpoint.name)
def test_no_translated_error_does(
    alice: Person, operator: Operator, add_upstream: AddUpstream, asked: Endpoint, spoken: Endpoint
) -> None:
    text, kind = BODIES["an error"]
    answers = {
        status: Answer(
            status, {**THEIR_HEADERS, "content-type": kind, "content-length": str(len(text))}, [text.encode()]
        )
        for status in EXPECTED
    }
    for status, _ in Turns(operator, add_upstream, spoken).over(answers):
        reply = alice.call(asked.path, asked.body(model=spoken.model))
        ours, code = EXPECTED[status]
        assert reply.refusal == (asked.status(ours), code), status
        assert_tells_nothing(reply)


@EACH
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed_and_the_credential_stays(
    alice: Person, operator: Operator, add_upstream: AddUpstream, scripted: Any, endpoint: Endpoint, status: int
) -> None:
    elsewhere = scripted.script(served(endpoint))
    # Another host to whoever would follow: the credential was given for the first.
    target = elsewhere.base_url.replace("127.0.0.1", "localhost") + endpoint.upstream_path
    script = add_upstream(endpoint, plain(b"moved", status=status, location=target))
    operator.run("set_route", script.route_id, "--credential-env", "SCRIPTED_UPSTREAM_KEY")
    operator.tell_server()
    reply = alice.call(endpoint.path, endpoint.body())
    assert reply.refusal == (502, "upstream_error")
    assert (len(script.calls), elsewhere.calls) == (1, [])
    assert "location" not in reply.headers
    assert_tells_nothing(reply)


@EACH
def test_of_two_hundred_headers_only_listed_ones_go_upstream(
    alice: Person, operator: Operator, add_upstream: AddUpstream, endpoint: Endpoint
) -> None:
    script = add_upstream(endpoint, served(endpoint))
    operator.run("set_route", script.route_id, "--credential-env", "SCRIPTED_UPSTREAM_KEY")
    operator.tell_server()
    named = {
        "x_api_key": alice.key, "anthropic_api_key": alice.key, "x_goog_api_key": "AIza-callers", "cookie": "a=b",
        "proxy_authorization": "Basic abc", "x_forwarded_for": "1.2.3.4", "forwarded": "for=1.2.3.4", "via": "1.1 me",
        "openai_organization": "org-callers", "openai_project": "proj-callers", "openai_beta": "assistants=v2",
        "anthropic_version": "2023-06-01", "anthropic_beta": "context-1m-2025-08-07", "origin": "https://evil.example",
        "x_stainless_lang": "python", "user_agent": "callers/1.0", "x_hypereal_cache": "true", "te": "trailers",
        "x_hypereal_route": "theirs", "http_referer": "https://me.example", "x_title": "me", "expect": "nothing",
        "idempotency_key": "a key", "traceparent": "00-abc", "range": "bytes=0-1", "x_original_host": "evil.example",
    }  # fmt: skip
    many = {f"x_custom_{number}": f"callers {number}" for number in range(160)}
    assert alice.call(endpoint.path, endpoint.body(), **named, **many).status == 200
    (call,) = script.calls
    ours = {"host", "content-length", "content-type", "accept-encoding", "user-agent"}
    if endpoint is MESSAGES:
        assert set(call.headers) == {*ours, "x-api-key", "anthropic-version", "anthropic-beta"}
    else:
        assert set(call.headers) == {*ours, "authorization"}
    assert "callers" not in str(call.headers)
    assert alice.key not in str(call.headers) + call.body.decode()
