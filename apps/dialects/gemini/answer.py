"""A plain generateContent reply as an Answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.core.tokens import NO_USAGE, TokenUsage
from apps.dialects.common.json_body import NULL
from apps.dialects.common.scrub import failure_message
from apps.dialects.gemini.endings import blocked, read_ending
from apps.dialects.gemini.parts import END, PICTURE, TEXT, Part, arguments_of, image_of, new_call_id, signature_of
from apps.dialects.gemini.tokens import read_logprobs
from apps.dialects.gemini.usage import read_usage
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending
from apps.dialects.hub.conversation import Image, Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import ENCRYPTED, GEMINI, Seal


class Content(msgspec.Struct, gc=False):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel", gc=False):
    index: int | None = 0
    content: Content | None = None
    finish_reason: Any = None
    logprobs_result: Any = None


class Feedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: Any = None


class Reply(msgspec.Struct, rename="camel", gc=False):
    """A reply, and a chunk of a stream: they have the same shape."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Raw = NULL
    """Every chunk repeats it, and only the last one counts: it is read once."""
    response_id: str | None = None
    error: Any = None

    @property
    def is_blocked(self) -> bool:
        """The prompt was refused: there are no candidates, and often no counts, because nothing is charged."""
        return not self.candidates and self.prompt_feedback is not None and bool(self.prompt_feedback.block_reason)


REPLY: Final = msgspec.json.Decoder(Reply)
_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Any)


def read_answer(body: bytes) -> Answer:
    """Raises: ValueError, where the body is no reply of this dialect and no error."""
    try:
        reply = REPLY.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if reply.error:
        return Answer(reply.response_id or "", failure=failure_message(reply.error))
    usage = usage_of(reply.usage_metadata)
    if reply.is_blocked and reply.prompt_feedback is not None:
        ending = blocked(reply.prompt_feedback.block_reason)
        return Answer(reply.response_id or "", [Choice([], ending)], usage or NO_USAGE)
    if not reply.candidates:
        raise ValueError("no candidates")
    candidates = sorted(reply.candidates, key=lambda candidate: candidate.index or 0)
    return Answer(reply.response_id or "", [_read_choice(candidate) for candidate in candidates], usage)


def usage_of(raw: Raw) -> TokenUsage | None:
    """Raises: ValueError, where it is no JSON."""
    return read_usage(_ANY.decode(raw))


def _read_choice(candidate: Candidate) -> Choice:
    parts: list[AnswerPart] = []
    for part in (candidate.content.parts if candidate.content is not None else None) or ():
        _read_part(part, parts)
    ending = Ending("other", native="")
    if candidate.finish_reason is not None:
        has_calls = any(isinstance(part, ToolCall) for part in parts)
        ending = read_ending(candidate.finish_reason, has_calls=has_calls)
    return Choice(parts, ending, read_logprobs(candidate.logprobs_result))


def _read_part(part: Part, parts: list[AnswerPart]) -> None:
    signature = part.thought_signature
    call = part.function_call
    if call is not None:
        id_ = call.id or new_call_id()
        if signature:
            parts.append(signature_of(id_, signature))
        parts.append(ToolCall(id_, call.name or "", arguments_of(call)))
    elif part.inline_data is not None:
        if signature:
            parts.append(signature_of(f"{PICTURE}{_count(parts, Image)}", signature))
        parts.append(image_of(part.inline_data))
    elif part.thought:
        parts.append(
            Thinking(part.text or "", Seal(GEMINI, ENCRYPTED, signature) if signature else None, is_summary=True)
        )
    elif part.text is not None:
        if part.text:
            parts.append(Text(part.text))
        if signature:
            place = max(0, _count(parts, Text) - 1)
            parts.append(signature_of(f"{TEXT if part.text else END}{place}", signature))


def _count(parts: list[AnswerPart], kind: type[Text] | type[Image]) -> int:
    return sum(isinstance(part, kind) for part in parts)
