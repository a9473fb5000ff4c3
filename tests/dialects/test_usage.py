"""Reported counts become disjoint buckets, whatever each provider includes or leaves out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.tokens import TokenUsage
from apps.dialects.anthropic_messages.usage import UsageMeter
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import relaxed

SHELL: dict[str, dict[str, Any]] = {
    "chat": {"choices": []},
    "responses": {"output": []},
    "images": {"data": [{"b64_json": "AA"}]},
    "messages": {"content": []},
}


def metered(endpoint: str, usage: Any, **more: Any) -> TokenUsage | None:
    return BY_ENDPOINT[endpoint].read_reply(json.dumps({**SHELL[endpoint], "usage": usage, **more}).encode()).usage


CHAT = {
    "plain": (
        {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
        TokenUsage(input=12, output=5),
    ),
    "cached tokens are part of the prompt": (
        {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}},
        TokenUsage(input=40, cache_read=60, output=5),
    ),
    "written tokens are part of the prompt": (
        {"prompt_tokens": 4_020, "completion_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 4_012}},
        TokenUsage(input=8, cache_write_5m=4_012, output=9),
    ),
    "reasoning is part of the completion": (
        {"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100,
         "completion_tokens_details": {"reasoning_tokens": 70}},
        TokenUsage(input=10, output=90, reasoning=70),
    ),
    "xAI leaves reasoning out of the completion": (
        {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 100,
         "completion_tokens_details": {"reasoning_tokens": 70}},
        TokenUsage(input=10, output=90, reasoning=70),
    ),
    "Gemini's endpoint hides thinking": (
        {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
        TokenUsage(input=35, output=74),
    ),
    "DeepSeek splits the prompt": (
        {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        TokenUsage(input=36, cache_read=64, output=5),
    ),
    "DeepSeek without a prompt count": (
        {"completion_tokens": 5, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        TokenUsage(input=36, cache_read=64, output=5),
    ),
    "Moonshot counts cached tokens at the top": (
        {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50, "cached_tokens": 10},
        TokenUsage(input=10, cache_read=10, output=30),
    ),
    "Mistral has a name of its own": (
        {"prompt_tokens": 20, "completion_tokens": 30, "num_cached_tokens": 16},
        TokenUsage(input=4, cache_read=16, output=30),
    ),
    "Qwen writes its cache": (
        {"prompt_tokens": 3_564, "completion_tokens": 8, "prompt_tokens_details": {
            "cache_type": "ephemeral", "cached_tokens": 0, "cache_creation_input_tokens": 3_550,
            "cache_creation": {"ephemeral_5m_input_tokens": 3_550}}},
        TokenUsage(input=14, cache_write_5m=3_550, output=8),
    ),
    "Qwen's split alone": (
        {"prompt_tokens": 100, "completion_tokens": 8,
         "prompt_tokens_details": {"cache_creation": {"ephemeral_5m_input_tokens": 80}}},
        TokenUsage(input=20, cache_write_5m=80, output=8),
    ),
    "more cached than there is": (
        {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 163}},
        TokenUsage(cache_read=163, output=1),
    ),
    "read and written overlap": (
        {"prompt_tokens": 2_168, "completion_tokens": 1,
         "prompt_tokens_details": {"cached_tokens": 2_161, "cache_write_tokens": 2_161}},
        TokenUsage(cache_read=2_161, cache_write_5m=7, output=1),
    ),
    "more reasoning than output": (
        {"prompt_tokens": 43, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 11}},
        TokenUsage(input=43, output=10, reasoning=10),
    ),
    "images in and out": (
        {"prompt_tokens": 300, "completion_tokens": 1_400, "prompt_tokens_details": {"image_tokens": 258},
         "completion_tokens_details": {"image_tokens": 1_290}},
        TokenUsage(input=300, output=1_400, image_input=258, image_output=1_290),
    ),
    "a count below zero makes all of them worthless": (
        {"prompt_tokens": 12, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": -9}},
        None,
    ),
    "zero is a count": ({"prompt_tokens": 0, "completion_tokens": 0}, TokenUsage()),
    "half of it is none": ({"prompt_tokens": 12, "completion_tokens": None}, None),
    "only integers count": (
        {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": "99",
         "prompt_tokens_details": {"cached_tokens": True, "cache_write_tokens": 3.0}},
        TokenUsage(input=12, output=5),
    ),
    "absurd counts are cut": (
        {"prompt_tokens": 2**60, "completion_tokens": 1},
        TokenUsage(input=2**53 - 1, output=1),
    ),
    "nothing countable": ({"cost_in_usd_ticks": 5}, None),
    "strings": ({"prompt_tokens": "12", "completion_tokens": "5"}, None),
    "null": (None, None),
    "a list": ([1], None),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAT)
def test_chat(name: str) -> None:
    usage, expected = CHAT[name]
    assert metered("chat", usage) == expected


def test_chat_usage_stands_in_several_places() -> None:
    counts = {"prompt_tokens": 12, "completion_tokens": 5}
    assert metered("chat", None, choices=[{"index": 0, "usage": counts}]) == TokenUsage(input=12, output=5)
    assert metered("chat", None, x_groq={"usage": counts}) == TokenUsage(input=12, output=5)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}, TokenUsage(input=12, output=5)),
        (
            {"input_tokens": 4_020, "input_tokens_details": {"cached_tokens": 1_000, "cache_write_tokens": 3_000},
             "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 40}},
            TokenUsage(input=20, cache_read=1_000, cache_write_5m=3_000, output=50, reasoning=40),
        ),
        ({"input_tokens": 5, "input_tokens_details": None, "output_tokens": 0}, TokenUsage(input=5)),
        ({"input_tokens": 5}, None),
        ({"input_tokens": 5, "output_tokens": -1}, None),
        ({}, None),
        (None, None),
        ("12", None),
    ],
)  # fmt: skip
def test_responses(usage: Any, expected: TokenUsage | None) -> None:
    assert metered("responses", usage) == expected


SEARCH = {"type": "web_search_call", "action": {"type": "search", "query": "x"}}
OPEN = {"type": "web_search_call", "action": {"type": "open_page", "url": "x"}}
COUNTED = {"input_tokens": 1, "output_tokens": 1}


@pytest.mark.parametrize(
    ("more", "requests"),
    [
        ({}, 0),
        ({"output": [SEARCH, OPEN, {"type": "web_search_call"}, {"type": "message"}]}, 2),
        ({"output": [SEARCH, SEARCH], "tool_usage": {"web_search": {"num_requests": 1}}}, 1),
        ({"output": [SEARCH], "tool_usage": {"web_search": {"num_requests": 0}}}, 0),
        ({"output": [SEARCH], "tool_usage": None}, 1),
        ({"output": [{"type": "file_search_call"}, {"type": "code_interpreter_call"}, {"type": "x_search_call"}]}, 3),
        ({"output": [{"type": "function_call"}, {"type": "mcp_call"}, {"type": "tool_search_call"}, 7]}, 0),
        ({"usage": {**COUNTED, "num_server_side_tools_used": 6}, "output": [SEARCH]}, 6),
    ],
)
def test_hosted_tools_of_responses_are_counted(more: dict[str, Any], requests: int) -> None:
    usage = metered("responses", more.get("usage", COUNTED), **{k: v for k, v in more.items() if k != "usage"})
    assert usage == TokenUsage(input=1, output=1, server_tool_requests=requests)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"input_tokens": 76, "input_tokens_details": {"text_tokens": 16, "image_tokens": 60}, "output_tokens": 120},
            TokenUsage(input=76, output=120, image_input=60, image_output=120),
        ),
        (
            {"input_tokens": 8, "output_tokens": 1_364,
             "output_tokens_details": {"image_tokens": 1_056, "text_tokens": 308}},
            TokenUsage(input=8, output=1_364, image_output=1_056),
        ),
        (
            {"input_tokens": 8, "output_tokens": 1_364, "output_tokens_details": {"text_tokens": 308}},
            TokenUsage(input=8, output=1_364, image_output=1_056),
        ),
        ({"cost_in_usd_ticks": 9}, None),
        ({"input_tokens": -1, "output_tokens": 9}, None),
        (None, None),
    ],
)  # fmt: skip
def test_images(usage: Any, expected: TokenUsage | None) -> None:
    assert metered("images", usage) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 27, "output_tokens": 15}, TokenUsage(input=27, output=15)),
        (
            {"input_tokens": 10, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 2_070,
             "cache_creation": {"ephemeral_5m_input_tokens": 14, "ephemeral_1h_input_tokens": 2_056},
             "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 3},
             "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}},
            TokenUsage(input=10, cache_read=500, cache_write_5m=14, cache_write_1h=2_056, output=5, reasoning=3,
                       server_tool_requests=2),
        ),
        (
            {"input_tokens": 1, "output_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 8}},
            TokenUsage(input=1, cache_write_5m=8, output=1),
        ),
        (
            {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 8,
             "cache_creation": {"ephemeral_1h_input_tokens": 99}},
            TokenUsage(input=1, cache_write_1h=8, output=1),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, TokenUsage()),
        ({"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": -1}, None),
        ({"output_tokens": 1}, None),
        ({"input_tokens": 1}, None),
        ({"input_tokens": 1, "output_tokens": 1, "cache_creation": None, "server_tool_use": None},
         TokenUsage(input=1, output=1)),
        ({}, None),
        (None, None),
    ],
)  # fmt: skip
def test_messages(usage: Any, expected: TokenUsage | None) -> None:
    assert metered("messages", usage) == expected


def test_later_counts_of_a_messages_stream_replace_earlier_ones() -> None:
    meter = UsageMeter()
    assert meter.read() is None
    meter.add(
        {
            "input_tokens": 727,
            "cache_creation_input_tokens": 3_068,
            "cache_creation": {"ephemeral_5m_input_tokens": 3_000, "ephemeral_1h_input_tokens": 68},
            "cache_read_input_tokens": 0,
            "output_tokens": 1,
        }
    )
    meter.add({"input_tokens": 1_595, "cache_creation_input_tokens": 3_337, "cache_read_input_tokens": 6_289})
    meter.add({"output_tokens": 40, "input_tokens": None})
    meter.add({"output_tokens": 50, "input_tokens": -1})
    assert meter.read() == TokenUsage(input=1_595, cache_read=6_289, cache_write_5m=3_269, cache_write_1h=68, output=40)


COUNT = st.none() | st.booleans() | st.integers(-5, 500) | st.just(2**70) | st.just("7") | st.floats(0, 9)
NAMES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens",
         "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "cache_creation_input_tokens",
         "cache_read_input_tokens")  # fmt: skip
PARTS = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens", "image_tokens", "text_tokens",
                     "ephemeral_1h_input_tokens", "thinking_tokens"]),
    COUNT,
)  # fmt: skip
HOLDERS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details",
           "cache_creation", "server_tool_use")  # fmt: skip


@pytest.mark.parametrize("endpoint", SHELL)
@relaxed
@given(counts=st.dictionaries(st.sampled_from(NAMES), COUNT), parts=st.dictionaries(st.sampled_from(HOLDERS), PARTS))
def test_no_bucket_is_ever_negative_or_larger_than_its_whole(
    endpoint: str, counts: dict[str, Any], parts: dict[str, Any]
) -> None:
    usage = metered(endpoint, {**counts, **parts})
    if usage is None:
        return
    buckets = (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output)
    assert all(type(bucket) is int and 0 <= bucket <= 2**53 for bucket in buckets)
    assert 0 <= usage.reasoning <= usage.output
    assert 0 <= usage.image_output <= usage.output
    assert 0 <= usage.image_input <= usage.input
