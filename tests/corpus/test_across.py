"""Every recorded reply, told in each other dialect: the official SDKs read the same text, tool calls, end and usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import anthropic
import httpx2
import openai
import pytest

from apps.core.errors import GatewayError
from apps.dialects.passage import Passage, passages
from apps.dialects.registry import CALLERS, DIALECTS
from tests.corpus.meaning import Meaning, arguments_of, is_told, meaning
from tests.corpus.recordings import RECORDINGS, Recording, cut, needs_corpus, with_crlf

pytestmark = needs_corpus

HYPEREAL: Final = b'{"billing":{"credits_charged":12}}'
MODEL: Final = "gpt-5-5"
CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"


PAIRS: Final = [
    (caller, recording) for recording in RECORDINGS if is_told(recording) for caller in CALLERS
    if caller != recording.dialect
]  # fmt: skip
EACH: Final = pytest.mark.parametrize(
    ("caller", "recording"), PAIRS, ids=[f"{caller} of {recording.name}" for caller, recording in PAIRS]
)


class Gateway:
    """The official SDKs before one recorded reply, with the dialects and nothing else between them."""

    def __init__(self, caller: str, recording: Recording, pieces: list[bytes]) -> None:
        self._dialect = DIALECTS[caller]
        self._recording = recording
        self._pieces = pieces

    @contextmanager
    def http(self) -> Iterator[httpx2.Client]:
        with httpx2.Client(transport=httpx2.MockTransport(self._serve)) as client:
            yield client

    def _serve(self, call: httpx2.Request) -> httpx2.Response:
        request = self._dialect.parse(call.content)
        (passage,) = passages(self._dialect, request, [self._recording.dialect])
        passage.upstream_body(upstream_model="theirs", max_tokens=500, account_tag="acc")
        if request.is_stream:
            return httpx2.Response(200, content=self._stream(passage), headers={"content-type": "text/event-stream"})
        body = b"".join(self._pieces)
        reply = passage.read_reply(body)
        assert reply.failure is None
        shown = passage.render_reply(body, model_id=MODEL, hypereal=HYPEREAL)
        return httpx2.Response(200, content=shown, headers={"content-type": "application/json"})

    def _stream(self, passage: Passage) -> bytes:
        relay = passage.relay(model_id=MODEL)
        sent = b"".join(relay.feed(piece) for piece in self._pieces)
        sent += relay.end()
        if relay.state.failure is None and relay.state.is_complete:
            return sent + relay.finish(HYPEREAL)
        error = GatewayError("upstream_error", relay.state.failure or "It broke off.")
        return sent + relay.fail(error, request_id="req_1")


def told(caller: str, recording: Recording, pieces: list[bytes]) -> tuple[Meaning, dict[str, int] | None]:
    """What the official SDK makes of it: what was said, and the usage in buckets."""
    with Gateway(caller, recording, pieces).http() as http:
        if caller == MESSAGES:
            with anthropic.Anthropic(api_key="ck_x", base_url="http://gateway", http_client=http) as claude:
                return read_message(ask_messages(claude, is_stream=recording.is_stream))
        with openai.OpenAI(api_key="ck_x", base_url="http://gateway/v1", http_client=http, max_retries=0) as client:
            if caller == CHAT:
                return read_completion(ask_chat(client, is_stream=recording.is_stream))
            return read_response(ask_responses(client, is_stream=recording.is_stream))


def ask_chat(client: openai.OpenAI, *, is_stream: bool) -> Any:
    asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    if not is_stream:
        return client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        try:
            return stream.get_final_completion()
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            # The helper wants whole answers; what it gathered is there.
            return stream.current_completion_snapshot


def ask_responses(client: openai.OpenAI, *, is_stream: bool) -> Any:
    if not is_stream:
        return client.responses.create(model=MODEL, input="Hi")
    with client.responses.stream(model=MODEL, input="Hi") as stream:
        for event in stream:
            if event.type in {"response.completed", "response.incomplete"}:
                return event.response
    raise AssertionError("no terminal event")


def ask_messages(client: anthropic.Anthropic, *, is_stream: bool) -> Any:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}]}
    if not is_stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        return stream.get_final_message()


def read_completion(completion: Any) -> tuple[Meaning, dict[str, int] | None]:
    assert completion.object == "chat.completion"
    assert completion.model == MODEL
    choice = completion.choices[0]
    message = choice.message
    said = Meaning(
        text=(message.content or "") + (message.refusal or ""),
        calls=[(call.function.name, arguments_of(call.function.arguments)) for call in message.tool_calls or ()],
        stop=choice.finish_reason,
        images=len(getattr(message, "images", None) or ()),
    )
    usage = completion.usage
    if usage is None:
        return said, None
    details, more = usage.prompt_tokens_details, usage.completion_tokens_details
    cached, written = details.cached_tokens or 0, getattr(details, "cache_write_tokens", None) or 0
    return said, {
        "input": usage.prompt_tokens - cached - written,
        "cache_read": cached,
        "cache_write": written,
        "output": usage.completion_tokens,
        "reasoning": more.reasoning_tokens or 0,
    }


def read_response(response: Any) -> tuple[Meaning, dict[str, int] | None]:
    assert (response.object, response.model) == ("response", MODEL)
    said = Meaning(text=response.output_text, stop=response.status)
    for item in response.output:
        if item.type == "message":
            said.text += "".join(part.refusal for part in item.content if part.type == "refusal")
        elif item.type == "function_call":
            said.calls.append((item.name, arguments_of(item.arguments)))
        elif item.type == "image_generation_call":
            said.images += 1
    if response.incomplete_details is not None:
        said.stop = response.incomplete_details.reason
    usage = response.usage
    if usage is None:
        return said, None
    cached = usage.input_tokens_details.cached_tokens
    written = getattr(usage.input_tokens_details, "cache_write_tokens", None) or 0
    return said, {
        "input": usage.input_tokens - cached - written,
        "cache_read": cached,
        "cache_write": written,
        "output": usage.output_tokens,
        "reasoning": usage.output_tokens_details.reasoning_tokens,
    }


def read_message(message: Any) -> tuple[Meaning, dict[str, int] | None]:
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    usage = message.usage
    said = Meaning(
        text="".join(block.text for block in message.content if block.type == "text"),
        calls=[(block.name, block.input) for block in message.content if block.type == "tool_use"],
        stop=message.stop_reason,
    )
    details = usage.output_tokens_details
    return said, {
        "input": usage.input_tokens,
        "cache_read": usage.cache_read_input_tokens or 0,
        "cache_write": usage.cache_creation_input_tokens or 0,
        "output": usage.output_tokens,
        "reasoning": (details.thinking_tokens or 0) if details is not None else 0,
    }


NO_REASON: Final = "The model declined to answer."
"""What stands where a refusal has to say something and its provider gave no reason."""

STOPS: Final[dict[str, dict[str, set[str]]]] = {
    CHAT: {
        "end": {"stop"}, "stop_sequence": {"stop"}, "length": {"length"}, "tools": {"tool_calls"},
        "refusal": {"stop", "content_filter"}, "filtered": {"content_filter"}, "pause": {"stop"},
        "other": {"stop", "tool_calls"},
    },
    RESPONSES: {
        "end": {"completed"}, "stop_sequence": {"completed"}, "length": {"max_output_tokens"}, "tools": {"completed"},
        "refusal": {"completed", "content_filter"}, "filtered": {"content_filter"}, "pause": {"pause_turn"},
        "other": {"completed"},
    },
    MESSAGES: {
        "end": {"end_turn"}, "stop_sequence": {"stop_sequence"}, "length": {"max_tokens"}, "tools": {"tool_use"},
        "refusal": {"refusal"}, "filtered": {"refusal"}, "pause": {"pause_turn"}, "other": {"end_turn"},
    },
}  # fmt: skip
"""What each reason to end may be called in each dialect."""


def usage_in_buckets(recording: Recording) -> dict[str, int] | None:
    usage = recording.usage
    if usage is None:
        return None
    return {
        "input": usage["input_uncached"],
        "cache_read": usage["cache_read"],
        "cache_write": usage["cache_write_5m"] + usage["cache_write_1h"],
        "output": usage["output"],
        "reasoning": min(usage["reasoning"], usage["output"]),
    }


@EACH
def test_a_reply_is_told_alike_in_every_dialect(caller: str, recording: Recording) -> None:
    said = meaning(recording)
    shown, usage = told(caller, recording, [recording.raw])
    if said.stop == "refusal" and not said.text:
        said.text = shown.text if shown.text in {"", NO_REASON} else ""
    assert shown.text == said.text
    assert shown.calls == said.calls
    assert shown.stop in STOPS[caller][said.stop] or (said.stop == "other" and shown.stop == said.native)
    if caller != MESSAGES:
        assert shown.images == said.images
    if recording.usage is not None:
        assert usage == usage_in_buckets(recording)


@pytest.mark.parametrize(
    ("caller", "recording"),
    [pair for pair in PAIRS if pair[1].is_stream],
    ids=[f"{caller} of {recording.name}" for caller, recording in PAIRS if recording.is_stream],
)
def test_it_makes_no_difference_where_a_stream_was_cut(caller: str, recording: Recording) -> None:
    whole = told(caller, recording, [recording.raw])
    for raw in (recording.raw, with_crlf(recording.raw)):
        assert told(caller, recording, cut(raw, seed=recording.id)) == whole
