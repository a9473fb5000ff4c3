"""Bugs that other gateways shipped, each by its number and with where it was reported. Those that need a gateway around
the protocols (9: hang-ups, 10: answers that end early) stand in tests/flows/test_known_bugs.py.
"""

from __future__ import annotations

import json
import uuid

import pytest

from apps.catalog.pricing import Price, quote
from apps.core.tokens import TokenUsage
from apps.dialects.hub.reasoning import ANTHROPIC, ENCRYPTED, OPENAI, SIGNATURE, Seal, wrap
from apps.dialects.protocol import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from tests.dialects.bodies import frames, typed
from tests.dialects.calls import (
    CACHED,
    CACHED_STREAMS,
    TEXT_BLOCK,
    TOOLS,
    Event,
    blocks_of,
    call_delta,
    chat_stream,
    messages_stream,
    passage,
    replied,
    sent,
    streamed,
)

# 1. Cached tokens charged twice: litellm#9812, #11789 (streams only), #11364, bifrost#3451, langchainjs#10249.


def test_bug_01_cached_tokens_of_a_prompt_are_not_also_input() -> None:
    events, usage = streamed("messages", OPENAI_CHAT, chat_stream({"content": "Hi"}, usage=CACHED))
    assert usage == TokenUsage(input=40, cache_read=60, output=5)
    assert events[-2]["usage"]["input_tokens"] == 40
    assert events[-2]["usage"]["cache_read_input_tokens"] == 60
    message = {"role": "assistant", "content": "Hi"}
    reply = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": CACHED}
    plain, usage = replied("messages", OPENAI_CHAT, reply)
    assert usage == TokenUsage(input=40, cache_read=60, output=5)
    assert (plain["usage"]["input_tokens"], plain["usage"]["cache_read_input_tokens"]) == (40, 60)


@pytest.mark.parametrize("endpoint", ["messages", "chat", "responses"])
def test_bug_01_running_totals_of_a_stream_are_not_added_up(endpoint: str) -> None:
    start = {"input_tokens": 4, "cache_creation_input_tokens": 1165, "cache_read_input_tokens": 7, "output_tokens": 1}
    stream = messages_stream(TEXT_BLOCK, usage=start, final={**start, "output_tokens": 9})
    events, usage = streamed(endpoint, ANTHROPIC_MESSAGES, stream, **WITH_USAGE[endpoint])
    assert usage == TokenUsage(input=4, cache_read=7, cache_write_5m=1165, output=9)
    if endpoint == "chat":
        assert events[-2]["usage"]["prompt_tokens"] == 4 + 1165 + 7
        assert events[-2]["usage"]["prompt_tokens_details"]["cached_tokens"] == 7


WITH_USAGE: dict[str, Event] = {"messages": {}, "responses": {}, "chat": {"stream_options": {"include_usage": True}}}

# 2. Cache writes for an hour charged as for five minutes: litellm#29432, #15056, pi#5603.


@pytest.mark.parametrize("endpoint", ["messages", "chat", "responses"])
def test_bug_02_cache_writes_for_an_hour_are_not_charged_as_for_five_minutes(endpoint: str) -> None:
    split = {"ephemeral_5m_input_tokens": 14, "ephemeral_1h_input_tokens": 2056}
    start = {"input_tokens": 3, "cache_creation_input_tokens": 2070, "cache_creation": split, "output_tokens": 1}
    # The last event repeats the sum, never the split.
    final = {"input_tokens": 3, "cache_creation_input_tokens": 2070, "output_tokens": 9}
    _, usage = streamed(endpoint, ANTHROPIC_MESSAGES, messages_stream(TEXT_BLOCK, usage=start, final=final))
    assert usage == TokenUsage(input=3, cache_write_5m=14, cache_write_1h=2056, output=9)
    price = Price(uuid.UUID(int=1), input=100, output=500, cache_write=125, cache_write_1h=200)
    assert quote(price, TokenUsage(cache_write_5m=14_000_000, cache_write_1h=2_056_000_000)) == 14 * 125 + 2056 * 200


# 3. A Messages stream over an OpenAI upstream says nothing of the cache: litellm#31069.


@pytest.mark.parametrize("upstream", [OPENAI_CHAT, OPENAI_RESPONSES, GEMINI])
def test_bug_03_a_messages_stream_tells_of_the_cache_in_its_last_event(upstream: str) -> None:
    events, _ = streamed("messages", upstream, CACHED_STREAMS[upstream])
    assert events[0]["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    shown = events[-2]["usage"]
    assert (shown["input_tokens"], shown["cache_read_input_tokens"], shown["output_tokens"]) == (40, 60, 5)


# 4. Arguments lost where a text gives way to a call: litellm#25321, #13373.


def test_bug_04_arguments_that_come_with_the_name_are_not_lost_behind_a_text() -> None:
    stream = chat_stream(
        {"content": "Let me see."}, call_delta(0, id="call_1", name="grep", arguments='{"q":1}'), finish="tool_calls"
    )
    events, _ = streamed("messages", OPENAI_CHAT, stream, tools=TOOLS)
    text, call = blocks_of(events)
    assert text["text"] == "Let me see."
    assert (call["name"], call["input"]) == ("grep", {"q": 1})


def test_bug_04_a_call_in_one_chunk_with_its_text_and_the_finish_is_whole() -> None:
    delta = {"content": "See:", **call_delta(0, id="call_1", name="grep", arguments='{"q":1}')}
    choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls"}
    stream = frames({"id": "c", "created": 1, "choices": [choice]}, "[DONE]")
    events, _ = streamed("messages", OPENAI_CHAT, stream, tools=TOOLS)
    assert [block["type"] for block in blocks_of(events)] == ["text", "tool_use"]
    assert blocks_of(events)[1]["input"] == {"q": 1}


def test_bug_04_every_delta_belongs_to_a_block_that_was_opened() -> None:
    stream = chat_stream(
        call_delta(0, id="call_1", name="grep"),
        call_delta(0, arguments=""),
        {"content": "While that runs,"},
        call_delta(0, arguments='{"q":1}'),
        {"content": " hello."},
        finish="tool_calls",
    )
    events, _ = streamed("messages", OPENAI_CHAT, stream, tools=TOOLS)
    # `message_of` checks that blocks open before they go on, one at a time.
    contents = blocks_of(events)
    assert [block["input"] for block in contents if block["type"] == "tool_use"] == [{"q": 1}]
    assert "".join(block["text"] for block in contents if block["type"] == "text") == "While that runs, hello."


# 5. Parallel calls mixed up: litellm#5231, #15307, #21331, bifrost#1961, praxis-proxy/ai#266, headroom#2890.


def test_bug_05_parallel_calls_that_interleave_stay_apart() -> None:
    stream = chat_stream(
        call_delta(0, id="a", name="grep", arguments=""),
        call_delta(1, id="b", name="ls", arguments='{"d'),
        call_delta(0, arguments='{"q":'),
        call_delta(1, arguments='ir":2}'),
        call_delta(0, arguments="1}"),
        finish="tool_calls",
    )
    events, _ = streamed("messages", OPENAI_CHAT, stream, tools=TOOLS)
    assert [(block["id"], block["name"], block["input"]) for block in blocks_of(events)] == [
        ("a", "grep", {"q": 1}),
        ("b", "ls", {"dir": 2}),
    ]


def test_bug_05_parallel_calls_of_messages_have_an_index_each_in_chat() -> None:
    calls: list[tuple[Event, list[Event]]] = [
        (
            {"type": "tool_use", "id": name, "name": name, "input": {}},
            [{"type": "input_json_delta", "partial_json": part} for part in ("", '{"q":', f'"{name}"}}')],
        )
        for name in ("grep", "ls")
    ]
    stream = messages_stream(*calls, usage={"input_tokens": 1}, final={"output_tokens": 9}, stop="tool_use")
    events, _ = streamed("chat", ANTHROPIC_MESSAGES, stream)
    arguments: dict[int, str] = {}
    for event in events[:-1]:
        for choice in event["choices"]:
            for call in choice["delta"].get("tool_calls") or ():
                arguments[call["index"]] = arguments.get(call["index"], "") + call["function"].get("arguments", "")
    assert arguments == {0: '{"q":"grep"}', 1: '{"q":"ls"}'}


# 6. Thinking inside of a text block, a second message_start, lost signatures: litellm#32357, #38153, #38809.


def test_bug_06_thinking_and_text_have_blocks_of_their_own_and_one_start() -> None:
    stream = chat_stream({"reasoning_content": "Hm"}, {"reasoning_content": "."}, {"content": "Hi"}, {"content": "!"})
    events, _ = streamed("messages", OPENAI_CHAT, stream)
    assert [event["type"] for event in events].count("message_start") == 1
    thinking, text = blocks_of(events)
    assert (thinking["type"], thinking["thinking"], text["text"]) == ("thinking", "Hm.", "Hi!")


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
@pytest.mark.parametrize("said", ["", "Hm."])
def test_bug_06_a_signature_is_kept_also_without_a_word_of_thinking(endpoint: str, said: str) -> None:
    thought = [{"type": "thinking_delta", "thinking": said}] if said else []
    signature = {"type": "signature_delta", "signature": "EqQBCg=="}
    block = ({"type": "thinking", "thinking": "", "signature": ""}, [*thought, signature])
    stream = messages_stream(block, TEXT_BLOCK, usage={"input_tokens": 1}, final={"output_tokens": 9})
    events, _ = streamed(endpoint, ANTHROPIC_MESSAGES, stream)
    assert "EqQBCg==" in json.dumps(events)


# 7. Encrypted reasoning dropped in silence for other providers: litellm#36197.


def test_bug_07_reasoning_of_another_provider_reaches_a_responses_caller_and_comes_back() -> None:
    content = [{"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}, {"type": "text", "text": "Hi"}]
    reply = {
        "id": "msg_1",
        "content": content,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    asks = {"include": ["reasoning.encrypted_content"]}
    shown, _ = replied("responses", ANTHROPIC_MESSAGES, reply, **asks)
    assert [item["type"] for item in shown["output"]] == ["reasoning", "message"]
    back = sent(
        "responses",
        ANTHROPIC_MESSAGES,
        **asks,
        input=[{"role": "user", "content": "Hi"}, *shown["output"], {"role": "user", "content": "Go on."}],
    )
    assert back["messages"][1]["content"] == content


def test_bug_07_reasoning_that_a_provider_does_not_take_is_named() -> None:
    foreign = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    way = passage("responses", ANTHROPIC_MESSAGES, input=[foreign, {"role": "user", "content": "Hi"}])
    body = way.upstream_body(upstream_model="claude-opus-4-8", max_tokens=9, account_tag="acc")
    assert b"gAAA" not in body
    assert [line for line in way.adapted if "reasoning" in line] == ["reasoning of another provider: left out"]


# 8. An error within a stream swallowed, and the stream ended as a success: litellm#4562, Portkey#741.


@pytest.mark.parametrize("endpoint", ["messages", "chat", "responses"])
def test_bug_08_an_error_within_a_stream_is_a_failure_and_no_ending(endpoint: str) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 1}}}
    way = passage(endpoint, ANTHROPIC_MESSAGES, stream=True)
    relay = way.relay(model_id="ours")
    relay.feed(typed(start, error))
    assert (relay.state.failure, relay.state.failure_is_overload) == ("Overloaded", True)
    assert not relay.state.is_complete
    assert relay.feed(typed({"type": "message_stop"})) == relay.end() == b""


@pytest.mark.parametrize("endpoint", ["messages", "responses"])
def test_bug_08_an_error_in_a_chat_chunk_is_a_failure(endpoint: str) -> None:
    stream = frames({"id": "c", "error": {"code": 502, "message": "Upstream broke."}, "choices": []}, "[DONE]")
    relay = passage(endpoint, OPENAI_CHAT, stream=True).relay(model_id="ours")
    relay.feed(stream)
    assert relay.state.failure == "Upstream broke."
    assert not relay.state.is_complete


# 11. Unknown reasons taken for a natural end, pending calls lost: litellm#23793, laravel/ai#881.


def test_bug_11_an_unknown_reason_is_told_by_its_own_name() -> None:
    stream = messages_stream(TEXT_BLOCK, usage={"input_tokens": 1}, final={"output_tokens": 2}, stop="compaction")
    events, _ = streamed("chat", ANTHROPIC_MESSAGES, stream)
    (last,) = [choice for event in events[:-1] for choice in event["choices"] if choice["finish_reason"]]
    assert "compaction" in json.dumps(last)
    events, _ = streamed("messages", OPENAI_CHAT, chat_stream({"content": "Hi"}, finish="max_turns"))
    assert events[-2]["delta"]["stop_reason"] == "max_turns"


@pytest.mark.parametrize("finish", ["stop", "end_turn", "something_new"])
def test_bug_11_calls_are_pending_whatever_the_reason_says(finish: str) -> None:
    stream = chat_stream(call_delta(0, id="a", name="grep", arguments="{}"), finish=finish)
    events, _ = streamed("messages", OPENAI_CHAT, stream, tools=TOOLS)
    assert [block["type"] for block in blocks_of(events)] == ["tool_use"]
    assert events[-2]["delta"]["stop_reason"] != "end_turn"


# 12. Image tokens priced as text, images in dropped, counts mixed: litellm#17410, #17554, #18182, #19066.


def test_bug_12_image_tokens_are_counted_on_the_side_where_they_are() -> None:
    counts = {
        "promptTokenCount": 270,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}, {"modality": "IMAGE", "tokenCount": 258}],
        "candidatesTokenCount": 1336,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        "thoughtsTokenCount": 10,
    }
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}
    reply = {"candidates": [{"content": {"parts": [image]}, "finishReason": "STOP"}], "usageMetadata": counts}
    shown, usage = replied("chat", GEMINI, reply, modalities=["image", "text"])
    assert usage == TokenUsage(input=270, image_input=258, output=1346, image_output=1290, reasoning=10)
    assert shown["choices"][0]["message"]["images"][0]["image_url"]["url"] == "data:image/png;base64,iVBO"


# 13. Moonshot's usage never seen, billed as nothing: pi#2017, AstrBot#6614, Cogtrix#2376.


@pytest.mark.parametrize("endpoint", ["chat", "messages", "responses"])
def test_bug_13_usage_within_a_choice_is_seen(endpoint: str) -> None:
    counts = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "cached_tokens": 60}
    last = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": counts}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "kimi"}
    said = {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    stream = frames({**head, "choices": [said]}, {**head, "choices": [last]}, "[DONE]")
    _, usage = streamed(endpoint, OPENAI_CHAT, stream)
    assert usage == TokenUsage(input=40, cache_read=60, output=5)


# 14. Results of one turn's tools in several messages: kosong#45, pydantic-ai#653.


def test_bug_14_results_of_parallel_calls_go_in_one_message_and_first() -> None:
    def call(name: str) -> Event:
        return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}

    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call("grep"), call("ls")]},
        {"role": "tool", "tool_call_id": "call_grep", "content": "1"},
        {"role": "user", "content": "Hurry."},
        {"role": "tool", "tool_call_id": "call_ls", "content": "2"},
    ]
    messages = sent("chat", ANTHROPIC_MESSAGES, messages=history)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [block.get("tool_use_id") or block["text"] for block in messages[2]["content"]] == [
        "call_grep",
        "call_ls",
        "Hurry.",
    ]


# 15. Reasoning that another provider or account sealed is a 400 for the whole call: sub2api#3138.


@pytest.mark.parametrize("upstream", [ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, GEMINI])
def test_bug_15_thinking_of_others_stays_from_the_upstream_of_a_messages_caller(upstream: str) -> None:
    own = {ANTHROPIC_MESSAGES: "EqQB"}.get(upstream)
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": wrap(Seal("elsewhere", SIGNATURE, "stale"))},
        {"type": "redacted_thinking", "data": wrap(Seal("elsewhere", ENCRYPTED, "stale"))},
        {"type": "thinking", "thinking": "So.", "signature": "EqQB"},
        {"type": "text", "text": "Hi"},
    ]
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": "?"},
    ]
    body = json.dumps(sent("messages", upstream, messages=history))
    assert "stale" not in body
    assert "hypereal." not in body
    assert ("EqQB" in body) is (own is not None)


@pytest.mark.parametrize("upstream", [ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES])
def test_bug_15_reasoning_of_others_stays_from_the_upstream_of_a_responses_caller(upstream: str) -> None:
    items = [
        {"role": "user", "content": "Hi"},
        {
            "type": "reasoning",
            "id": "rs_hypereal_1_0",
            "summary": [],
            "encrypted_content": wrap(Seal(ANTHROPIC, SIGNATURE, "EqQB")),
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        {"role": "user", "content": "?"},
    ]
    body = json.dumps(sent("responses", upstream, input=items))
    assert "hypereal." not in body
    assert ("EqQB" in body) is (upstream == ANTHROPIC_MESSAGES)
    assert ("gAAA" in body) is (upstream == OPENAI_RESPONSES)


@pytest.mark.parametrize("endpoint", ["messages", "responses", "chat"])
def test_bug_15_a_retry_goes_without_reasoning(endpoint: str) -> None:
    """What is a provider's own by its looks may have been sealed for another account: the second attempt forgets it."""
    seal = wrap(Seal(OPENAI, ENCRYPTED, "gAAA", "rs_1"))
    histories: dict[str, Event] = {
        "messages": {
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "redacted_thinking", "data": seal}, {"type": "text", "text": "Hi"}],
                },
                {"role": "user", "content": "?"},
            ]
        },
        "responses": {
            "input": [
                {"role": "user", "content": "Hi"},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
                {"role": "user", "content": "?"},
            ]
        },
        "chat": {
            "messages": [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": "Hi",
                    "reasoning_details": [
                        {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "format": "openai-responses-v1"}
                    ],
                },
                {"role": "user", "content": "?"},
            ]
        },
    }
    way = passage(endpoint, OPENAI_RESPONSES, **histories[endpoint])
    assert b"gAAA" in way.upstream_body(upstream_model="gpt-5-5", max_tokens=500, account_tag="acc")
    assert way.forget_reasoning()
    assert b"gAAA" not in way.upstream_body(upstream_model="gpt-5-5", max_tokens=500, account_tag="acc")
    assert not way.forget_reasoning()
