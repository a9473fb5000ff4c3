"""An upstream's words reach the caller without the operator's identity (SPEC 2.6)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.dialects.common.scrub import MAX_CHARS, scrub
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import ENDPOINTS, relaxed

GENERIC = "The upstream refused the request with status 400."


def told(body: bytes | dict[str, Any] | list[Any] | str) -> str:
    return BY_ENDPOINT["chat"].read_error(400, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Too long.", "type": "x", "code": None}},
        {"type": "error", "error": {"type": "invalid_request_error", "message": "Too long."}, "request_id": "req_1"},
        {"error": "Too long."},
        {"code": "x", "error": "Too long."},
        {"detail": "Too long."},
        {"detail": [{"loc": ["body"], "msg": "Too long."}]},
        {"message": "Too long."},
        [{"error": {"code": 400, "message": "Too long.", "status": "INVALID_ARGUMENT"}}],
        {"error": {"message": {"detail": "Too long."}}},
    ],
)
def test_the_message_is_found_in_every_shape(body: Any) -> None:
    assert told(body) == "Too long."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>nginx</body></html>",
        b"Bad gateway at 10.0.0.7",
        b"\xff\xfe",
        b"[" * 100_000,
        b"3",
        {"error": {"code": 400}},
        {"error": None},
        {"error": {"message": ""}},
        {"error": {"message": "<html>proxy.corp</html>"}},
    ],
)
def test_what_has_no_readable_message_is_told_in_our_words(body: Any) -> None:
    assert told(body) == GENERIC


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_dialect_tells_it(endpoint: str) -> None:
    assert BY_ENDPOINT[endpoint].read_error(400, b'{"error":{"message":"Too long."}}') == "Too long."


@pytest.mark.parametrize(
    "secret",
    [
        "https://platform.example.com/docs?key=1",
        "wss://rt.example.com/v1",
        "www.example.org/x",
        "ops@acme.example",
        "sk-proj-abc123DEF456",
        "sk-ant-api03-abcdef",
        "sk-abcd1234",
        "sk-ab***********wxyz",
        "test-con****-key",
        "ck_live_0123456789",
        "gsk_abc123def456",
        "xai-abc123def456",
        "org-AbC123xyz",
        "proj_AbC123xyz",
        "user-AbC123xyz",
        "AIzaSyA1234567890abcdefg",
        "req_011CabcdefghijklmnopqrstuvwxyzABCD",
        "req_0123456789",
        "Bearer abc.def.ghi",
        "api.openai.com",
        "my-resource.openai.azure.com:443/openai/deployments/x",
        "proxy.corp.internal",
        "10.0.0.7:8080",
        "localhost:11434",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_identities_are_taken_out(secret: str) -> None:
    assert scrub(f"Failed for {secret} today") == "Failed for [redacted] today"
    assert secret not in scrub(f"Failed ({secret}), sorry")


@pytest.mark.parametrize(
    "message",
    [
        "messages.0.content.1: Input should be a valid dictionary",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-opus-4-8",
        "tools.0.custom.input_schema: Field required",
        "a < b and c > d",
        "`tool_use` ids were found without `tool_result` blocks: toolu_01AbCdEfGhIjKlMnOpQrStUv",
    ],
)
def test_what_the_caller_needs_stays(message: str) -> None:
    assert scrub(message) == message


def test_a_message_is_one_short_line() -> None:
    assert scrub("a\r\n\tb\u0000c\u2028d") == "a b c d"
    long = scrub("word " * 1_000)
    assert len(long) <= MAX_CHARS
    assert long.endswith("…")


@relaxed
@given(text=st.text(alphabet="ab.-_@:/*< \u0000é", max_size=200))
def test_any_message_becomes_printable(text: str) -> None:
    told = scrub(text)
    assert told.isprintable()
    assert len(told) <= MAX_CHARS


@pytest.mark.parametrize("word", ["a.", "a-a.", "a@", "a*", "<a", "1.", "+a", "sk-", "Bearer "])
def test_a_message_that_quotes_a_hostile_caller_takes_no_time(word: str) -> None:
    started = time.process_time()
    scrub(word * 100_000)
    assert time.process_time() - started < 0.5
