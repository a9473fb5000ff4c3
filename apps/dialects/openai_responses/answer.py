"""A plain Responses reply, read into the hub's answer and written from it."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import msgspec
from msgspec import Raw

from apps.core import clock
from apps.core.tokens import TokenUsage
from apps.dialects.common.json_body import NULL, is_null
from apps.dialects.common.json_reply import decode
from apps.dialects.common.scrub import failure_message
from apps.dialects.hub.answer import Answer, AnswerPart, Choice
from apps.dialects.hub.conversation import Conversation, Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.openai_responses import items, output
from apps.dialects.openai_responses.reply import BILLABLE
from apps.dialects.openai_responses.usage import read_response_usage


class _Called(TypedDict, total=False):
    """What tells whether an item is a hosted call that is charged for."""

    type: Any
    action: Any


class IncompleteDetails(msgspec.Struct):
    reason: str | None = None


class Response(msgspec.Struct):
    """As much of a response object as the hub has words for."""

    id: str = ""
    created_at: float | None = None
    status: str | None = None
    output: list[Raw] | None = None
    usage: Raw = NULL
    tool_usage: Raw = NULL
    error: Raw = NULL
    incomplete_details: IncompleteDetails | None = None

    @property
    def created_s(self) -> int:
        return int(self.created_at or 0)

    def read_usage(self) -> TokenUsage | None:
        return read_response_usage(
            {
                "usage": decode(self.usage),
                "tool_usage": decode(self.tool_usage),
                "output": [_CALLED.decode(raw) for raw in self.output or ()],
            }
        )

    @property
    def reason(self) -> str:
        return (self.incomplete_details.reason if self.incomplete_details is not None else None) or ""


_CALLED: Final = msgspec.json.Decoder(_Called)
RESPONSE: Final = msgspec.json.Decoder(Response)


def read_answer(body: bytes) -> Answer:
    """See `UpstreamSide.read_answer`."""
    try:
        response = RESPONSE.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    status = response.status or "completed"
    error = None if is_null(response.error) else decode(response.error)
    if error or status not in BILLABLE:
        failure = failure_message(error or f"The upstream ended the response with status {status}.")
        return Answer(response.id, created_s=response.created_s, failure=failure)
    if response.output is None:
        raise ValueError("no output")
    parts: list[AnswerPart] = []
    logprobs: list[Any] = []
    for raw in response.output:
        read_item(raw, parts, logprobs)
    ending = output.read_ending(
        status,
        response.reason,
        has_calls=any(isinstance(part, ToolCall) for part in parts),
        has_refusal=any(isinstance(part, Refusal) for part in parts),
    )
    return Answer(response.id, [Choice(parts, ending, logprobs or None)], response.read_usage(), response.created_s)


def read_item(raw: Raw, parts: list[AnswerPart], logprobs: list[Any]) -> None:
    """Add what one item says; what a provider did on its own account says nothing to others. Raises: ValueError."""
    kind = items.HEAD.decode(raw).type
    if kind == "message":
        for part in message_parts(raw):
            read = items.read_part(part)
            if isinstance(read, Text | Refusal):
                parts.append(read)
                logprobs.extend(part.logprobs or ())
    elif kind in ("function_call", "custom_tool_call"):
        parts.append(read_call(raw, is_custom=kind == "custom_tool_call"))
    elif kind == "reasoning":
        thought = items.read_reasoning(items.REASONING.decode(raw))
        if thought is not None:
            parts.append(thought)
    elif kind == "image_generation_call":
        image = items.read_drawing(items.DRAWING.decode(raw))
        if image is not None:
            parts.append(image)


def message_parts(raw: Raw) -> list[items.Part]:
    content = items.MESSAGE.decode(raw).content
    if isinstance(content, str):
        return [items.Part("output_text", content)]
    return content or []


def read_call(raw: Raw, *, is_custom: bool) -> ToolCall:
    call = items.CALL.decode(raw)
    arguments = (call.input if is_custom else call.arguments) or ""
    return ToolCall(call.call_id or "", call.name, arguments, is_custom)


def write_answer(answer: Answer, conversation: Conversation, *, model_id: str, hypereal: bytes) -> bytes:
    """See `CallerSide.write_answer`. This protocol has no `n`: the first choice is the answer."""
    ids = output.Ids.of(answer.id)
    choice = answer.choices[0] if answer.choices else None
    shown = _write_items(choice, ids, conversation) if choice is not None else []
    response = output.response_object(
        ids,
        conversation,
        model_id=model_id,
        created_s=answer.created_s or int(clock.now().timestamp()),
        status="completed",
        output=shown,
    )
    output.close_response(response, choice.ending if choice is not None else None, answer.usage)
    response["hypereal"] = Raw(hypereal)
    return msgspec.json.encode(response)


def _write_items(choice: Choice, ids: output.Ids, conversation: Conversation) -> list[output.Item]:
    """One item for each thought, call and image; texts and refusals in a row are parts of one message."""
    shown: list[output.Item] = []
    calls = output.CallShapes(conversation)
    shows_summary = wants_summary(conversation)
    logprobs = choice.logprobs
    content: list[output.Item] | None = None
    for part in [*choice.parts, *missing_refusal(choice)]:
        if isinstance(part, Text | Refusal):
            if content is None:
                content = []
                shown.append(output.message_item(ids.item("msg", len(shown)), content))
            if isinstance(part, Refusal):
                content.append(output.refusal_part(part.text))
                continue
            content.append(output.text_part(part.text, annotations=output.own_citations(part), logprobs=logprobs))
            logprobs = None
            continue
        content = None
        index = len(shown)
        if isinstance(part, ToolCall):
            shown.append(calls.item(ids, index, part.id, part.name, part.arguments, is_custom=part.is_custom))
        elif isinstance(part, Thinking):
            item_id = reasoning_id(part.id, ids, index)
            is_summary = part.is_summary or shows_summary
            shown.append(output.reasoning_item(item_id, part.text, part.seal, is_summary=is_summary))
        elif isinstance(part, Image):
            shown.append(output.drawing_item(ids.item("ig", index), part.media_type, part.data or part.url))
    return shown


def wants_summary(conversation: Conversation) -> bool:
    """Clients that ask for a summary look for reasoning there and nowhere else."""
    return conversation.reasoning.summary not in ("", "omitted")


def reasoning_id(given: str, ids: output.Ids, index: int) -> str:
    return ids.keep(given if given.startswith("rs_") else "", items.OUR_THOUGHT, index)


def missing_refusal(choice: Choice) -> list[Refusal]:
    """A refusal that came without words needs some here: nothing else tells it from an empty answer."""
    if choice.ending.reason != "refusal" or any(isinstance(part, Refusal) for part in choice.parts):
        return []
    return [Refusal(refusal_text(choice.ending.details))]


def refusal_text(details: object) -> str:
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) and explanation else output.DECLINED
