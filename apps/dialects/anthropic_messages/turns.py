"""The hub's turns as Messages says them: the system prompt on top, then strictly alternating messages."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.anthropic_messages.blocks import BROKEN_JSON
from apps.dialects.anthropic_messages.marks import write_mark
from apps.dialects.anthropic_messages.sealed import upstream_block
from apps.dialects.anthropic_messages.tools import MAX_NAME_CHARS
from apps.dialects.hub.abilities import note, unsupported
from apps.dialects.hub.conversation import (
    Conversation,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from apps.dialects.hub.custom import wrap_input
from apps.dialects.hub.sent import plain_name
from apps.dialects.protocol import InvalidRequest

Block = dict[str, Any]

MAX_ID_CHARS: Final = 256
_PDF: Final = "application/pdf"
_MEDIA: Final = {"image/jpg": "image/jpeg"}
"""What clients call a type, and what it is."""
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_JSON_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])


@dataclass(slots=True)
class _Message:
    role: str
    results: list[Block] = field(default_factory=list)
    """Results of tools, which have to stand first."""
    blocks: list[Block] = field(default_factory=list)

    def write(self) -> dict[str, Any]:
        return {"role": self.role, "content": [*self.results, *self.blocks]}


def write_turns(conversation: Conversation) -> tuple[list[Block], list[dict[str, Any]]]:
    """System blocks, and messages.

    Raises: InvalidRequest, where nothing is left to answer; UnsupportedField, for a part without a block.
    """
    writer = _TurnWriter(conversation)
    for turn in conversation.turns:
        writer.add(turn)
    return writer.finish()


class _TurnWriter:
    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._system: list[Block] = []
        self._messages: list[_Message] = []
        self._callers: dict[str, int] = {}
        """A tool call's id -> the message that made it."""

    def add(self, turn: Turn) -> None:
        if turn.name:
            note(self._conversation, f"{turn.field}.name: left out")
        if turn.role == "system" or turn.role == "developer":
            self._add_system(turn)
            return
        for part in turn.parts:
            if isinstance(part, ToolResult):
                self._add_result(part, turn)
            elif (block := self._write(part, turn)) is not None:
                self._message(turn.role).blocks.append(block)
                if isinstance(part, ToolCall):
                    self._callers[part.id] = len(self._messages) - 1

    def finish(self) -> tuple[list[Block], list[dict[str, Any]]]:
        for message in self._messages:
            # A thought that led to nothing may not end a message.
            while message.role == "assistant" and message.blocks and message.blocks[-1]["type"] in _THOUGHTS:
                message.blocks.pop()
        messages: list[dict[str, Any]] = []
        for written in (message.write() for message in self._messages):
            if messages and messages[-1]["role"] == written["role"]:
                messages[-1]["content"] += written["content"]
            elif written["content"]:
                messages.append(written)
        if not messages and self._system:
            # A prompt that is nothing but instructions: the last of them is what there is to answer.
            messages.append({"role": "user", "content": [self._system.pop()]})
            note(self._conversation, "the last system message: sent as the user's")
        if not messages:
            where = self._conversation.turns[-1].field if self._conversation.turns else "messages"
            raise InvalidRequest("There is no text to answer.", param=where)
        _trim_prefill(messages[-1])
        return self._system, messages

    def _message(self, role: str) -> _Message:
        if not self._messages or self._messages[-1].role != role:
            self._messages.append(_Message(role))
        return self._messages[-1]

    def _add_system(self, turn: Turn) -> None:
        for part in turn.parts:
            if not isinstance(part, Text):
                raise unsupported(turn.field)
            if (block := _text_block(part)) is not None:
                self._system.append(block)
                if self._messages:
                    note(self._conversation, f"{turn.field}: moved to the system prompt")

    def _add_result(self, part: ToolResult, turn: Turn) -> None:
        """Into the message that follows its call, where the protocol looks for it."""
        follower = self._callers.get(part.call_id, len(self._messages)) + 1
        is_late = follower < len(self._messages)
        message = self._messages[follower] if is_late else self._message("user")
        message.results.append(self._result_block(part, turn))

    def _write(self, part: Part, turn: Turn) -> Block | None:
        """The block; None for what says nothing here."""
        if isinstance(part, Text):
            return _text_block(part)
        if isinstance(part, Refusal):
            return _text_block(Text(part.text))
        if isinstance(part, Thinking):
            block = upstream_block(part)
            if block is None:
                note(self._conversation, "reasoning of another provider: left out")
            return block
        if isinstance(part, ToolCall):
            return _call_block(part)
        if turn.role != "user" or isinstance(part, ToolResult):
            # An image that another model drew: answers have no blocks for it.
            raise unsupported(turn.field)
        return self._file_block(part, turn)

    def _file_block(self, part: Image | Document, turn: Turn) -> Block | None:
        if isinstance(part, Document):
            return _document_block(part, turn)
        if part.detail not in ("", "auto"):
            note(self._conversation, f"{turn.field} image detail: left out")
        source = (
            {"type": "url", "url": part.url}
            if part.url
            else {"type": "base64", "media_type": _MEDIA.get(part.media_type, part.media_type), "data": part.data}
        )
        return _marked({"type": "image", "source": source}, part)

    def _result_block(self, result: ToolResult, turn: Turn) -> Block:
        block: Block = {"type": "tool_result", "tool_use_id": plain_name(result.call_id, most=MAX_ID_CHARS)}
        written = [
            _text_block(part) if isinstance(part, Text) else self._file_block(part, turn) for part in result.parts
        ]
        content = [part for part in written if part is not None]
        marks = [part.pop("cache_control") for part in content if "cache_control" in part]
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            block["content"] = content[0]["text"]
        elif content:
            block["content"] = content
        if result.is_error:
            block["is_error"] = True
        if marks:
            block["cache_control"] = marks[-1]
        return _marked(block, result)


def _text_block(part: Text) -> Block | None:
    """None for text that the protocol takes for empty."""
    return _marked({"type": "text", "text": part.text}, part) if part.text.strip() else None


def _call_block(call: ToolCall) -> Block:
    return _marked(
        {
            "type": "tool_use",
            "id": plain_name(call.id, most=MAX_ID_CHARS),
            "name": plain_name(call.name, most=MAX_NAME_CHARS),
            "input": Raw(wrap_input(call.arguments).encode()) if call.is_custom else input_object(call.arguments),
        },
        call,
    )


def input_object(arguments: str) -> Raw | dict[str, str]:
    """A call's arguments as the object that the protocol wants, byte for byte where they are one."""
    if not arguments.strip():
        return {}
    try:
        _JSON_OBJECT.decode(arguments)
    except (ValueError, RecursionError):
        return {BROKEN_JSON: arguments}
    return Raw(arguments.encode())


def _document_block(part: Document, turn: Turn) -> Block | None:
    source: dict[str, str]
    text = part.text
    if text is None and part.data and part.media_type != _PDF:
        text = _decoded(part, turn)
    if text is not None:
        if not text.strip():
            return None
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif part.url:
        source = {"type": "url", "url": part.url}
    else:
        source = {"type": "base64", "media_type": _PDF, "data": part.data}
    block: Block = {"type": "document", "source": source}
    if part.name:
        block["title"] = part.name
    if part.context:
        block["context"] = part.context
    if part.wants_citations:
        block["citations"] = {"enabled": True}
    return _marked(block, part)


def _decoded(part: Document, turn: Turn) -> str:
    """A text file's content: the protocol takes only PDF as base64."""
    try:
        return base64.b64decode(part.data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise unsupported(turn.field) from None


def _marked(block: Block, part: Text | Image | Document | ToolCall | ToolResult) -> Block:
    if part.cache is not None:
        block["cache_control"] = write_mark(part.cache)
    return block


def _trim_prefill(message: dict[str, Any]) -> None:
    """An answer that is begun for the model may not end in white space."""
    last = message["content"][-1]
    if message["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()
