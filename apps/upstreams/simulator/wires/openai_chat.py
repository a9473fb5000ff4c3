"""OpenAI Chat Completions, with what other providers add to it: reasoning text, images, marked caches.

Source: provider's API reference and the types of its Python SDK 3.54, read 2026-11; `message.images` and
`delta.images` as OpenRouter documents them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.upstreams.simulator import canvas, prompt, reading
from apps.upstreams.simulator.answer import CHUNK_CHARS, Answer
from apps.upstreams.simulator.prompt import Context, Listener, Prompt, Refusal, Thinking, Tool
from apps.upstreams.simulator.reply import Frame, data_frame
from apps.upstreams.simulator.wires import openai_shared
from apps.upstreams.simulator.wires.protocol import FAILED, Request, Speech, short_id

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
FINISH: Final = {"end": "stop", "stop_sequence": "stop", "length": "length", "tool_calls": "tool_calls"}
MAX_CHOICES: Final = 8
DONE: Final = Frame(b"data: [DONE]\n\n")


class ChatWire:
    caches_by_itself = True

    def read(self, request: Request) -> Prompt:
        fields = request.fields
        messages = reading.objects(fields.get("messages"), "messages", is_required=True)
        tools = reading.objects(fields.get("tools"), "tools")
        functions = [_function(tool) for tool in tools if tool.get("type") == "function"]
        context, listener = Context(), Listener()
        openai_shared.add_tools(context, tools)
        for place, message in enumerate(messages):
            _read_message(message, f"messages[{place}]", context, listener)
        if (ttl := reading.cache_ttl(fields, "request")) is not None:
            context.mark_end(ttl)
        talk, directives = listener.heard()
        tool_choice = fields.get("tool_choice")
        reading.check_range(fields, "temperature", most=2)
        reading.check_range(fields, "top_p", most=1)
        limit = reading.integer(fields, "max_completion_tokens", least=1)
        return Prompt(
            model=reading.text(fields, "model"),
            fields=fields,
            context=context,
            talk=talk,
            directives=directives,
            is_stream=reading.flag(fields, "stream"),
            tools=tuple(functions),
            tool_choice=openai_shared.choice(
                tool_choice,
                name=reading.mapping(reading.mapping(tool_choice).get("function")).get("name"),
                is_parallel=fields.get("parallel_tool_calls") is not False,
                has_tools=bool(tools),
            ),
            max_tokens=limit or reading.integer(fields, "max_tokens", least=1),
            stop=reading.stops(fields.get("stop"), "stop"),
            n=reading.integer(fields, "n", least=1, most=MAX_CHOICES) or 1,
            schema=_schema(reading.mapping(fields.get("response_format"))),
            thinking=_thinking(fields),
            canvas=canvas.for_chat(fields),
            cache_scope=str(fields.get("prompt_cache_key") or ""),
        )

    def plain(self, speech: Speech) -> dict[str, Any]:
        body = {
            "id": f"chatcmpl-{speech.id}",
            "object": "chat.completion",
            "created": speech.created_at,
            "model": speech.prompt.model,
            "choices": [
                {
                    "index": index,
                    "message": _message(speech, answer, index),
                    "logprobs": None,
                    "finish_reason": FINISH[answer.stop],
                }
                for index, answer in enumerate(speech.answers)
            ],
            "system_fingerprint": openai_shared.FINGERPRINT,
        }
        if speech.usage is not None:
            body["usage"] = _usage(speech.usage, is_marked=bool(speech.prompt.context.marks))
        return body

    def stream(self, speech: Speech) -> Iterator[Frame]:
        options = reading.mapping(speech.prompt.fields.get("stream_options"))
        tells_usage = options.get("include_usage") is True and speech.usage is not None
        chunk = _chunk(speech)
        if tells_usage:
            chunk["usage"] = None

        def frame(index: int, delta: dict[str, Any], finish: str | None = None, *, is_content: bool = False) -> Frame:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            return data_frame({**chunk, "choices": [choice]}, is_content=is_content)

        for index, answer in enumerate(speech.answers):
            yield frame(index, {"role": "assistant", "content": "" if answer.chunks else None, "refusal": None})
            for delta in _deltas(speech, answer, index):
                yield frame(index, delta, is_content=True)
            yield frame(index, {}, FINISH[answer.stop])
        if tells_usage and speech.usage is not None:
            usage = _usage(speech.usage, is_marked=bool(speech.prompt.context.marks))
            yield data_frame({**chunk, "choices": [], "usage": usage})
        yield DONE

    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        return openai_shared.error(refusal)

    def fail(self, speech: Speech) -> tuple[int, dict[str, Any]]:
        return 500, openai_shared.error(Refusal(FAILED, status=500))

    def break_off(self, speech: Speech, *, sent: int) -> Iterable[Frame]:
        return [data_frame({**_chunk(speech), "choices": [], **openai_shared.error(Refusal(FAILED, status=500))})]


def _chunk(speech: Speech) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{speech.id}",
        "object": "chat.completion.chunk",
        "created": speech.created_at,
        "model": speech.prompt.model,
        "system_fingerprint": openai_shared.FINGERPRINT,
    }


def _function(tool: Mapping[str, Any]) -> Tool:
    function = reading.mapping(tool.get("function"))
    return Tool(reading.text(function, "name"), reading.mapping(function.get("parameters")))


def _read_message(message: Mapping[str, Any], name: str, context: Context, listener: Listener) -> None:
    role = message.get("role")
    if role not in ROLES:
        raise Refusal(
            f"Invalid value: '{role}'. Supported values are: {', '.join(map(repr, ROLES))}.",
            param=f"{name}.role",
            code="invalid_value",
        )
    context.add(f"\n{role}: ")
    texts = _read_content(message.get("content"), name, context)
    calls = reading.objects(message.get("tool_calls"), f"{name}.tool_calls")
    if calls:
        context.add_bytes(reading.canonical(calls))
    context.end_block(reading.cache_ttl(message, name))
    if role == "user":
        listener.user_says(texts)
    elif role == "assistant":
        listener.assistant_answers([str(reading.mapping(call.get("function")).get("name")) for call in calls])
    elif role == "tool":
        if not isinstance(message.get("tool_call_id"), str):
            raise Refusal(f"Missing required parameter: '{name}.tool_call_id'.", param=f"{name}.tool_call_id")
        listener.tool_returns(" ".join(texts))


def _read_content(content: Any, name: str, context: Context) -> list[str]:
    """Take a message's content in; returns its texts."""
    if content is None:
        return []
    if isinstance(content, str):
        context.add(content)
        return [content]
    texts: list[str] = []
    for part in reading.objects(content, f"{name}.content"):
        match part.get("type"):
            case "text":
                texts.append(str(part.get("text") or ""))
                context.add(texts[-1])
            case "image_url":
                context.add_image(str(reading.mapping(part.get("image_url")).get("url")))
            case "refusal":
                context.add(str(part.get("refusal")))
            case "file" | "input_audio":
                context.add_document(str(part))
            case kind:
                raise Refusal(f"Invalid value: '{kind}'.", param=f"{name}.content", code="invalid_value")
        context.end_block(reading.cache_ttl(part, name))
    return texts


def _schema(wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if wanted.get("type") == "json_schema":
        return reading.mapping(reading.mapping(wanted.get("json_schema")).get("schema"))
    return {} if wanted.get("type") == "json_object" else None


def _thinking(fields: Mapping[str, Any]) -> Thinking | None:
    """How each provider is asked to think: OpenAI's effort, OpenRouter's `reasoning`, DeepSeek's and Kimi's `thinking`,
    Qwen's `enable_thinking`."""
    effort = fields.get("reasoning_effort") or reading.mapping(fields.get("reasoning")).get("effort")
    if effort is None:
        kind = reading.mapping(fields.get("thinking")).get("type")
        effort = "medium" if kind == "enabled" or fields.get("enable_thinking") is True else None
    return prompt.think(effort)


def _message(speech: Speech, answer: Answer, index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.thought:
        message["reasoning_content"] = answer.thought
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": short_id("call_", speech, index * 10 + place),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for place, call in enumerate(answer.calls)
        ]
    if answer.images:
        message["images"] = [_image(image, place) for place, image in enumerate(answer.images)]
    return message


def _deltas(speech: Speech, answer: Answer, index: int) -> Iterator[dict[str, Any]]:
    for start in range(0, len(answer.thought), CHUNK_CHARS):
        yield {"reasoning_content": answer.thought[start : start + CHUNK_CHARS]}
    for text in answer.chunks:
        yield {"content": text}
    for place, call in enumerate(answer.calls):
        opening = {
            "index": place,
            "id": short_id("call_", speech, index * 10 + place),
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield {"tool_calls": [opening]}
        for start in range(0, len(call.arguments), CHUNK_CHARS):
            fragment = {"arguments": call.arguments[start : start + CHUNK_CHARS]}
            yield {"tool_calls": [{"index": place, "function": fragment}]}
    for place, image in enumerate(answer.images):
        yield {"images": [_image(image, place)]}


def _image(image: bytes, place: int) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    return {"type": "image_url", "index": place, "image_url": {"url": url}}


def _usage(usage: TokenUsage, *, is_marked: bool) -> dict[str, Any]:
    """OpenAI's usage; with marks in the prompt, DashScope's fields for an explicit cache beside it."""
    prompt_details: dict[str, Any] = {"cached_tokens": usage.cache_read, "audio_tokens": 0}
    if is_marked:
        written = usage.cache_write_5m + usage.cache_write_1h
        prompt_details |= {
            "cache_type": "ephemeral",
            "cache_creation_input_tokens": written,
            "cache_creation": {"ephemeral_5m_input_tokens": written},
        }
    completion_details = {
        "reasoning_tokens": usage.reasoning,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    if usage.image_output:
        completion_details["image_tokens"] = usage.image_output
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }
