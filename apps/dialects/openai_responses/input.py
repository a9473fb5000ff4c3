"""Write turns as items of a request."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from apps.dialects.common.data_url import data_url
from apps.dialects.common.openai_models import knows_custom_tools, marks_cache, speaks_reasoning
from apps.dialects.hub import abilities
from apps.dialects.hub.conversation import (
    CacheMark,
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
from apps.dialects.hub.reasoning import OPENAI
from apps.dialects.hub.sent import plain_name
from apps.dialects.openai_responses.items import HOUR, LONG_TTL
from apps.dialects.openai_responses.output import call_item, own_citations

Item = dict[str, Any]

MAX_ID_CHARS: Final = 64
MAX_NAME_CHARS: Final = 64
_CALLS: Final = ("function_call", "custom_tool_call")


class ItemWriter:
    """Turns in, items out. What had to be changed or left out is noted on the conversation."""

    def __init__(self, conversation: Conversation, upstream_model: str) -> None:
        self._conversation = conversation
        self._marks_cache = marks_cache(upstream_model)
        self._speaks_reasoning = speaks_reasoning(upstream_model)
        self._knows_custom = knows_custom_tools(upstream_model)
        self._custom_calls: set[str] = set()
        """Ids of calls of free text: their results are of that kind too, whatever the caller's dialect calls them."""

    def write(self, turns: list[Turn]) -> list[Item]:
        items: list[Item] = []
        for turn in turns:
            if turn.role == "assistant":
                self._assistant(turn, items)
            else:
                self._said(turn, items)
        return self._followed(items)

    def _said(self, turn: Turn, items: list[Item]) -> None:
        """A turn of the user or the system; results of tools are items of their own, in their place."""
        content: list[Item] = []
        for index, part in enumerate(turn.parts):
            if isinstance(part, ToolResult):
                _flush(items, turn.role, content)
                content = []
                items.append(self._result(part, _field(turn, index)))
            else:
                content.append(self._input(part, turn, index))
        _flush(items, turn.role, content)

    def _assistant(self, turn: Turn, items: list[Item]) -> None:
        content: list[Item] = []
        for index, part in enumerate(turn.parts):
            if isinstance(part, Text):
                self._leave_out_mark(part.cache)
                content.append({"type": "output_text", "text": part.text, "annotations": own_citations(part)})
                continue
            if isinstance(part, Refusal):
                content.append({"type": "refusal", "refusal": part.text})
                continue
            _flush(items, "assistant", content)
            content = []
            if isinstance(part, ToolCall):
                items.append(self._call(part))
            elif isinstance(part, Thinking):
                self._thought(part, _field(turn, index), items)
            else:
                # No item of the model's own holds a file; what it made stands in the conversation all the same.
                abilities.note(self._conversation, f"{_field(turn, index)}: moved to a user message")
                _flush(items, "user", [self._input(part, turn, index)])
        _flush(items, "assistant", content)

    def _call(self, part: ToolCall) -> Item:
        self._leave_out_mark(part.cache)
        is_custom = part.is_custom and self._knows_custom
        if is_custom:
            self._custom_calls.add(part.id)
        arguments = wrap_input(part.arguments) if part.is_custom and not is_custom else part.arguments
        name = plain_name(part.name, most=MAX_NAME_CHARS)
        return call_item(short_id(part.id), name, arguments, is_custom=is_custom)

    def _thought(self, part: Thinking, field: str, items: list[Item]) -> None:
        """A provider takes back only what it sealed itself, or what it said in the open."""
        seal = part.seal
        is_own = seal is not None and seal.family == OPENAI
        if not is_own and (seal is not None or part.is_summary or not self._speaks_reasoning):
            abilities.note(self._conversation, f"{field} reasoning: left out")
            return
        item: Item = {"type": "reasoning"}
        if item_id := part.id or (seal.item_id if seal is not None else ""):
            item["id"] = item_id
        # What is shown beside encrypted reasoning is its summary; some callers' dialects cannot tell that it is one.
        is_summary = part.is_summary or is_own
        item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text and is_summary else []
        if part.text and not is_summary:
            item["content"] = [{"type": "reasoning_text", "text": part.text}]
        if seal is not None:
            item["encrypted_content"] = seal.payload
        items.append(item)

    def _result(self, part: ToolResult, field: str) -> Item:
        content = [self._content(inner, f"{field}.content[{index}]") for index, inner in enumerate(part.parts)]
        if content:
            self._mark(content[-1], part.cache)
        is_plain = len(content) == 1 and content[0].keys() == {"type", "text"}
        output: Any = content[0]["text"] if is_plain else content or ""
        is_custom = part.call_id in self._custom_calls or (part.is_custom and self._knows_custom)
        item: Item = {
            "type": "custom_tool_call_output" if is_custom else "function_call_output",
            "call_id": short_id(part.call_id),
            "output": output,
        }
        if part.is_error:
            item["status"] = "incomplete"
        return item

    def _input(self, part: Part, turn: Turn, index: int) -> Item:
        field = _field(turn, index)
        if isinstance(part, Text | Image | Document):
            return self._content(part, field)
        raise abilities.unsupported(field)

    def _content(self, part: Text | Image | Document, field: str) -> Item:
        item: Item
        if isinstance(part, Text):
            item = {"type": "input_text", "text": part.text}
        elif isinstance(part, Image):
            item = {"type": "input_image", "image_url": part.url or data_url(part.media_type, part.data)}
            item["detail"] = part.detail or "auto"
        else:
            item = self._document(part, field)
        self._mark(item, part.cache)
        return item

    def _mark(self, item: Item, mark: CacheMark | None) -> None:
        """Cached for half an hour, or for half a day: what is to live for an hour needs the latter."""
        if mark is None:
            return
        if not self._marks_cache:
            self._leave_out_mark(mark)
        elif mark.ttl == HOUR:
            abilities.note(self._conversation, f"{self._conversation.name_of('cache')}: {HOUR} -> {LONG_TTL}")
            item["prompt_cache_breakpoint"] = {"mode": "explicit", "ttl": LONG_TTL}
        else:
            item["prompt_cache_breakpoint"] = {"mode": "explicit"}

    def _leave_out_mark(self, mark: CacheMark | None) -> None:
        if mark is not None:
            abilities.leave_out(self._conversation, "cache")

    def _document(self, part: Document, field: str) -> Item:
        if part.wants_citations:
            abilities.note(self._conversation, f"{field}.citations: left out")
        if part.text is not None:
            # Files of plain text are nothing that every provider of this protocol opens.
            heading = "\n".join(line for line in (part.name, part.context) if line)
            abilities.note(self._conversation, f"{field}: document -> text")
            return {"type": "input_text", "text": f"{heading}\n\n{part.text}" if heading else part.text}
        if part.context:
            abilities.note(self._conversation, f"{field}.context: left out")
        item: Item = {"type": "input_file"}
        if part.url:
            item["file_url"] = part.url
            if part.name:
                item["filename"] = part.name
        else:
            item["filename"] = part.name or f"document.{part.media_type.rpartition('/')[2] or 'bin'}"
            item["file_data"] = data_url(part.media_type, part.data)
        return item

    def _followed(self, items: list[Item]) -> list[Item]:
        """Reasoning is refused without the item that it led to."""
        kept: list[Item] = []
        is_followed = False
        for item in reversed(items):
            if item["type"] == "reasoning":
                if not is_followed:
                    abilities.note(self._conversation, "reasoning without what it led to: left out")
                    continue
            else:
                is_followed = item["type"] in _CALLS or item.get("role") == "assistant"
            kept.append(item)
        kept.reverse()
        return kept


def _flush(items: list[Item], role: str, content: list[Item]) -> None:
    if content:
        items.append({"type": "message", "role": role, "content": content})


def _field(turn: Turn, index: int) -> str:
    return f"{turn.field or turn.role}.content[{index}]"


def short_id(call_id: str) -> str:
    """A call's id, no longer than providers take; calls and results are shortened alike."""
    if len(call_id) <= MAX_ID_CHARS:
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:40]}"
