"""OpenAI Responses.

Source: provider's API reference and the types of its Python SDK 3.54, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from apps.core.tokens import TokenUsage
from apps.upstreams.simulator import reading, seal
from apps.upstreams.simulator.answer import CHUNK_CHARS
from apps.upstreams.simulator.prompt import Prompt, Refusal
from apps.upstreams.simulator.reply import Frame, event_frame
from apps.upstreams.simulator.wires import openai_shared
from apps.upstreams.simulator.wires.protocol import FAILED, Request, Speech, short_id
from apps.upstreams.simulator.wires.responses_request import read_request

ECHOED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Fields of the request that a response repeats, with what they are where the request says nothing."""

ERROR: Final = {"code": "server_error", "message": FAILED}


class ResponsesWire:
    caches_by_itself = True

    def read(self, request: Request) -> Prompt:
        return read_request(request.fields)

    def plain(self, speech: Speech) -> dict[str, Any]:
        return _ended(speech, _items(speech))

    def stream(self, speech: Speech) -> Iterator[Frame]:
        for number, event in enumerate(_events(speech)):
            # Items open and close around what is said; only the deltas are said.
            is_content = event["type"].endswith(".delta")
            yield event_frame({**event, "sequence_number": number}, is_content=is_content)

    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        return openai_shared.error(refusal)

    def fail(self, speech: Speech) -> tuple[int, dict[str, Any]]:
        return 200, _failed(speech)

    def break_off(self, speech: Speech, *, sent: int) -> Iterable[Frame]:
        return [
            event_frame({"type": "error", **ERROR, "param": None, "sequence_number": sent}),
            event_frame({"type": "response.failed", "response": _failed(speech), "sequence_number": sent + 1}),
        ]


def _response(speech: Speech, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    fields = speech.prompt.fields
    echoed = {name: fields[name] if fields.get(name) is not None else ECHOED[name] for name in ECHOED}
    return {
        "id": f"resp_{speech.id}",
        "object": "response",
        "created_at": speech.created_at,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": speech.prompt.model,
        "output": output,
        "usage": None,
        **echoed,
    }


def _ended(speech: Speech, output: list[dict[str, Any]]) -> dict[str, Any]:
    is_cut = speech.answer.stop == "length"
    response = _response(speech, "incomplete" if is_cut else "completed", output)
    if is_cut:
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    if speech.usage is not None:
        response["usage"] = _usage(speech.usage)
    return response


def _failed(speech: Speech) -> dict[str, Any]:
    return {**_response(speech, "failed", []), "error": ERROR}


def _items(speech: Speech) -> list[dict[str, Any]]:
    """The output: a thought, a message, calls; all complete."""
    fields, answer = speech.prompt.fields, speech.answer
    items: list[dict[str, Any]] = []
    if answer.thought:
        wants_summary = reading.mapping(fields.get("reasoning")).get("summary") is not None
        item: dict[str, Any] = {
            "id": short_id("rs_", speech),
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": answer.thought}] if wants_summary else [],
        }
        if "reasoning.encrypted_content" in (fields.get("include") or ()):
            item["encrypted_content"] = seal.seal(answer.thought)
        items.append(item)
    if answer.chunks:
        status = "incomplete" if answer.stop == "length" else "completed"
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
        items.append(
            {
                "id": short_id("msg_", speech),
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [part],
            }
        )
    items += [
        {
            "id": short_id("fc_", speech, place),
            "type": "function_call",
            "status": "completed",
            "arguments": call.arguments,
            "call_id": short_id("call_", speech, place),
            "name": call.name,
        }
        for place, call in enumerate(answer.calls)
    ]
    return items


def _events(speech: Speech) -> Iterator[dict[str, Any]]:
    started = _response(speech, "in_progress", [])
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    items = _items(speech)
    for index, item in enumerate(items):
        yield {"type": "response.output_item.added", "output_index": index, "item": _opened(item)}
        at = {"item_id": item["id"], "output_index": index}
        match item["type"]:
            case "reasoning":
                yield from _reasoning_events(item, at)
            case "message":
                yield from _text_events(speech, item, at)
            case _:
                yield from _call_events(item, at)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    ended = _ended(speech, items)
    yield {"type": f"response.{ended['status']}", "response": ended}


def _opened(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it is added: before anything is in it."""
    match item["type"]:
        case "reasoning":
            return {**item, "summary": []}
        case "message":
            return {**item, "status": "in_progress", "content": []}
    return {**item, "status": "in_progress", "arguments": ""}


def _reasoning_events(item: Mapping[str, Any], at: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for place, part in enumerate(item["summary"]):
        spot = {**at, "summary_index": place}
        text: str = part["text"]
        yield {"type": "response.reasoning_summary_part.added", **spot, "part": {**part, "text": ""}}
        for start in range(0, len(text), CHUNK_CHARS):
            delta = text[start : start + CHUNK_CHARS]
            yield {"type": "response.reasoning_summary_text.delta", **spot, "delta": delta}
        yield {"type": "response.reasoning_summary_text.done", **spot, "text": text}
        yield {"type": "response.reasoning_summary_part.done", **spot, "part": part}


def _text_events(speech: Speech, item: Mapping[str, Any], at: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    spot = {**at, "content_index": 0}
    part = item["content"][0]
    yield {"type": "response.content_part.added", **spot, "part": {**part, "text": ""}}
    for chunk in speech.answer.chunks:
        yield {"type": "response.output_text.delta", **spot, "delta": chunk, "logprobs": []}
    yield {"type": "response.output_text.done", **spot, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **spot, "part": part}


def _call_events(item: Mapping[str, Any], at: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    arguments: str = item["arguments"]
    for start in range(0, len(arguments), CHUNK_CHARS):
        delta = arguments[start : start + CHUNK_CHARS]
        yield {"type": "response.function_call_arguments.delta", **at, "delta": delta}
    yield {"type": "response.function_call_arguments.done", **at, "name": item["name"], "arguments": arguments}


def _usage(usage: TokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
