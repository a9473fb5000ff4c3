"""A plain chat completion as an Answer, and an Answer as one."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core import clock
from apps.core.ids import new_id
from apps.dialects.common.data_url import split_data_url
from apps.dialects.common.json_reply import open_reply
from apps.dialects.common.metering import count, members
from apps.dialects.common.scrub import failure_message
from apps.dialects.hub.answer import Answer, AnswerPart, Choice
from apps.dialects.hub.conversation import Conversation, Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import CHAT, ENCRYPTED, GEMINI, Seal
from apps.dialects.openai_chat.details import read_details, write_details
from apps.dialects.openai_chat.endings import explanation_of, read_ending, write_ending
from apps.dialects.openai_chat.parts import image_object
from apps.dialects.openai_chat.reply import in_groq, usage_in
from apps.dialects.openai_chat.usage import render_usage

ID_PREFIX: Final = "chatcmpl-"


def read_answer(body: bytes) -> Answer:
    """Raises: ValueError, where the body is no chat completion and no error."""
    reply = open_reply(body)
    id_ = _text(reply, "id")
    if reply.get("error"):
        return Answer(id_, failure=failure_message(reply["error"]))
    choices = reply.get("choices")
    if not choices or not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise ValueError("no choices")
    failed = next((choice["error"] for choice in choices if choice.get("error")), None)
    return Answer(
        id_,
        [_read_choice(choice) for choice in choices],
        usage_in(reply.get("usage"), *(choice.get("usage") for choice in choices), in_groq(reply.get("x_groq"))),
        count(reply, "created") or 0,
        None if failed is None else failure_message(failed),
    )


def _read_choice(choice: dict[str, Any]) -> Choice:
    # A choice that was filtered from its first word has no message (Azure).
    message = choice["message"] if isinstance(choice.get("message"), dict) else {}
    parts: list[AnswerPart] = list(read_thoughts(message))
    text = text_of(message.get("content"))
    if text:
        parts.append(Text(text))
    refusal = _text(message, "refusal")
    if refusal:
        parts.append(Refusal(refusal))
    parts += read_images(message)
    has_calls = _read_calls(message, parts)
    ending = read_ending(
        _text(choice, "finish_reason") or "stop",
        has_calls=has_calls,
        has_refusal=bool(refusal),
        native=_text(choice, "native_finish_reason"),
    )
    return Choice(parts, ending, logprobs_of(choice.get("logprobs")))


def read_thoughts(message: dict[str, Any]) -> list[Thinking]:
    """Some send the same reasoning under both of its names, and once more in the details."""
    thoughts = read_details(
        [entry for entry in members(message, "reasoning_details") if isinstance(entry, dict)], is_upstreams=True
    )
    text = _text(message, "reasoning_content") or _text(message, "reasoning")
    if text and not any(thought.text for thought in thoughts):
        thoughts.insert(0, Thinking(text))
    return thoughts


def read_images(message: dict[str, Any]) -> list[Image]:
    return [image for entry in members(message, "images") if (image := image_of(entry)) is not None]


def image_of(entry: object) -> Image | None:
    """`{"image_url": {"url": "data:…"}}`, or with the address as a plain string."""
    url = entry.get("image_url") if isinstance(entry, dict) else None
    if isinstance(url, dict):
        url = url.get("url")
    if not isinstance(url, str) or not url:
        return None
    found = split_data_url(url)
    return Image(url=url) if found is None else Image(*found)


def _read_calls(message: dict[str, Any], parts: list[AnswerPart]) -> bool:
    calls = [call for call in members(message, "tool_calls") if isinstance(call, dict)]
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        calls.append({"function": legacy})
    for call in calls:
        id_ = _text(call, "id") or new_call_id()
        if call.get("extra_content"):
            parts.append(Thinking(seal=extra_seal(call["extra_content"], id_)))
        parts.append(_read_call(call, id_))
    return bool(calls)


def _read_call(call: dict[str, Any], id_: str) -> ToolCall:
    custom = call.get("custom")
    if isinstance(custom, dict):
        return ToolCall(id_, _text(custom, "name"), _text(custom, "input"), is_custom=True)
    function = call.get("function")
    if not isinstance(function, dict):
        raise ValueError("a tool call without a function")
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCall(id_, _text(function, "name"), arguments or "")


def extra_seal(extra_content: object, call_id: str) -> Seal:
    """What a provider put beside a tool call (Gemini's endpoint: its signature), as its own seal of that call."""
    return Seal(CHAT, ENCRYPTED, msgspec.json.encode(extra_content).decode(), call_id)


def new_call_id() -> str:
    """For providers that give their calls none: results have to name it."""
    return f"call_{new_id().hex}"


def text_of(content: object) -> str:
    """Content as a string, or as a list of text parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(_text(part, "text") for part in content if isinstance(part, dict))


def logprobs_of(logprobs: object) -> list[Any] | None:
    """The list of tokens; None where there is none."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if content and isinstance(content, list) else None


def _text(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def write_answer(answer: Answer, conversation: Conversation, *, model_id: str, hypereal: bytes) -> bytes:
    """See `CallerSide.write_answer`."""
    choices = [_write_choice(choice, index, conversation) for index, choice in enumerate(answer.choices)]
    shown: dict[str, Any] = {
        "id": show_id(answer.id),
        "object": "chat.completion",
        "created": answer.created_s or int(clock.now().timestamp()),
        "model": model_id,
        "choices": choices,
        "usage": render_usage(answer.usage) if answer.usage is not None else None,
        "hypereal": Raw(hypereal),
    }
    return msgspec.json.encode(shown)


def show_id(upstream_id: str) -> str:
    """The upstream's id behind this protocol's prefix: `msg_01X` -> `chatcmpl-01X`."""
    if upstream_id.startswith(ID_PREFIX):
        return upstream_id
    bare = upstream_id.partition("_")[2] or upstream_id or new_id().hex
    return ID_PREFIX + bare


def _write_choice(choice: Choice, index: int, conversation: Conversation) -> dict[str, Any]:
    parts = choice.parts
    texts = [part.text for part in parts if isinstance(part, Text)]
    refusals = [part.text for part in parts if isinstance(part, Refusal)] or [explanation_of(choice.ending)]
    refusal = "".join(refusals) or None
    calls = [part for part in parts if isinstance(part, ToolCall)]
    images = [part for part in parts if isinstance(part, Image)]
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    content = "".join(texts) if texts or not (refusal or calls) else None
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal}
    reasoning = "".join(thought.text for thought in thoughts)
    if reasoning:
        message["reasoning_content"] = reasoning
    details: list[dict[str, Any]] = []
    for thought in thoughts:
        details += write_details(thought, len(details))
    if details:
        message["reasoning_details"] = details
    if calls:
        signatures = signatures_of(thoughts)
        message["tool_calls"] = [write_call(call, signatures.get(call.id)) for call in calls]
    if images:
        message["images"] = [{**image_object(image), "index": place} for place, image in enumerate(images)]
    shown: dict[str, Any] = {"index": index, "message": message}
    if conversation.logprobs is not None:
        shown["logprobs"] = {"content": choice.logprobs, "refusal": None} if choice.logprobs else None
    ending = write_ending(choice.ending, has_calls=bool(calls), has_refusal=bool(refusal), has_text=bool(content))
    return {**shown, **ending}


def signatures_of(thoughts: list[Thinking]) -> dict[str, str]:
    """Gemini's signatures of tool calls, by the calls' ids."""
    seals = [thought.seal for thought in thoughts if thought.seal is not None]
    return {seal.item_id: seal.payload for seal in seals if seal.family == GEMINI and seal.item_id}


def write_call(call: ToolCall, signature: str | None) -> dict[str, Any]:
    if call.is_custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    shown: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
    if signature:
        shown["extra_content"] = {"google": {"thought_signature": signature}}
    return shown
