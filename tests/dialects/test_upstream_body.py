"""What goes upstream: the caller's own bytes but for the fields that the gateway sets."""

from __future__ import annotations

from typing import Any

import pytest

from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import ENDPOINTS, MINIMAL, body, sent


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_only_the_model_is_renamed(endpoint: str) -> None:
    additions: dict[str, dict[str, Any]] = {"responses": {"store": False}, "images": {"n": 1}}
    assert sent(endpoint) == {**MINIMAL[endpoint], "model": "theirs", **additions.get(endpoint, {})}


def test_what_nobody_touches_travels_byte_by_byte() -> None:
    raw = (
        b'{"messages": [ {"role":"user", "content":"caf\xc3\xa9 \\u00e9 1.0"} ] ,"temperature": 1.0,'
        b'"seed":9223372036854775807, "model":"gpt-5-5"}'
    )
    chat = BY_ENDPOINT["chat"]
    upstream = chat.upstream_body(chat.parse(raw), upstream_model="theirs", max_tokens=None, account_tag="acc")
    assert upstream == (
        b'{"messages":[ {"role":"user", "content":"caf\xc3\xa9 \\u00e9 1.0"} ],"temperature":1.0,'
        b'"seed":9223372036854775807,"model":"theirs"}'
    )


def lowered(granted: int | None, **fields: int) -> dict[str, int]:
    chat = BY_ENDPOINT["chat"]
    request = chat.parse(body("chat", **fields))
    raw = chat.upstream_body(request, upstream_model="m", max_tokens=granted, account_tag="acc")
    again = chat.parse(raw)
    found = {}
    for name in ("max_tokens", "max_completion_tokens"):
        if name in again.fields:
            found[name] = int(bytes(again.fields[name]))
    return found


def test_the_grant_is_the_most_that_is_asked_for() -> None:
    assert lowered(30, max_tokens=50) == {"max_tokens": 30}
    assert lowered(80, max_tokens=50) == {"max_tokens": 50}
    # An upstream may go by either name.
    assert lowered(15, max_tokens=50, max_completion_tokens=20) == {"max_tokens": 15, "max_completion_tokens": 15}
    assert lowered(None, max_tokens=50, max_completion_tokens=20) == {"max_tokens": 20, "max_completion_tokens": 20}
    assert lowered(30) == {"max_tokens": 30}
    assert lowered(None, max_tokens=50) == {"max_tokens": 50}
    assert lowered(None) == {}


def test_the_other_dialects_have_one_name_for_it() -> None:
    responses = BY_ENDPOINT["responses"]
    upstream = responses.upstream_body(
        responses.parse(body("responses")), upstream_model="m", max_tokens=30, account_tag="acc"
    )
    assert responses.parse(upstream).max_tokens == 30
    messages = BY_ENDPOINT["messages"]
    request = messages.parse(body("messages", max_tokens=64_000))
    upstream = messages.upstream_body(request, upstream_model="m", max_tokens=5_000, account_tag="acc")
    assert messages.parse(upstream).max_tokens == 5_000


def test_a_chat_stream_always_asks_for_usage() -> None:
    assert sent("chat", stream=True)["stream_options"] == {"include_usage": True}
    options = {"include_usage": False, "include_obfuscation": False}
    assert sent("chat", stream=True, stream_options=options)["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }
    assert "stream_options" not in sent("chat")


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_cache_keys_are_the_accounts_own(endpoint: str) -> None:
    assert sent(endpoint, prompt_cache_key="thread-7")["prompt_cache_key"] == "acc:thread-7"
    assert "prompt_cache_key" not in sent(endpoint)
    long = sent(endpoint, prompt_cache_key="k" * 500)["prompt_cache_key"]
    assert long.startswith("acc:")
    assert len(long) == 44


def test_responses_are_never_stored() -> None:
    assert sent("responses")["store"] is False
    assert sent("responses", store=None)["store"] is False
    assert sent("responses", store=False)["store"] is False


def test_images_are_asked_for_as_the_models_know_it() -> None:
    upstream = sent("images", quality="standard", response_format="b64_json", style="vivid", size="1024x1024", n=2)
    assert upstream == {"model": "theirs", "prompt": "A cat", "quality": "auto", "size": "1024x1024", "n": 2}
    request = BY_ENDPOINT["images"].parse(body("images", quality="hd", response_format="url", style="natural"))
    assert request.adapted == ("quality: hd -> high", "response_format: left out", "style: left out")
