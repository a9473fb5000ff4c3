"""Turns of the hub as chat messages, in the shape that the strictest provider of this dialect takes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

import msgspec

from apps.dialects.hub.abilities import note
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
from apps.dialects.hub.reasoning import CHAT
from apps.dialects.hub.sent import plain_name
from apps.dialects.openai_chat.details import write_details
from apps.dialects.openai_chat.parts import Marks, image_object, put_mark, write_content, write_part
from apps.dialects.openai_chat.tools import MAX_NAME_CHARS

Message = dict[str, Any]
ERROR_MARK: Final = "Error: "
FILES_FOLLOW: Final = "The files follow."
"""A result without any text is refused by some providers."""


class Writer:
    """Writes one conversation's messages.

    Results of tools come right behind the calls, one message each; images that they returned follow in a user's
    message, because a `tool` message is text at most providers. An answer that came in pieces (calls in turns of their
    own, as Responses has them) is one message again.
    """

    def __init__(self, conversation: Conversation, *, marks: Marks, knows_custom: bool) -> None:
        self._conversation = conversation
        self._marks: Marks = marks
        self._knows_custom = knows_custom
        self._messages: list[Message] = []

    def write(self) -> list[Message]:
        for role, turns in groupby(self._conversation.turns, key=lambda turn: turn.role):
            if role == "assistant":
                for answer in _answers(turns):
                    self._answer(answer)
            elif role == "user":
                self._users(list(turns))
            else:
                for turn in turns:
                    self._system(turn)
        return self._messages

    def _system(self, turn: Turn) -> None:
        """`developer` is a word that few providers of this dialect know; those who do take both for the same."""
        parts = [part for part in turn.parts if isinstance(part, Text | Image | Document)]
        if parts:
            content = write_content(parts, f"{turn.field}.content", marks=self._marks)
            self._add("system", turn.name, content=content)

    def _users(self, turns: list[Turn]) -> None:
        """All results of tools first, whatever else was said between them."""
        returned: list[dict[str, Any]] = []
        for turn in turns:
            for index, part in enumerate(turn.parts):
                if isinstance(part, ToolResult):
                    returned += self._result(part, f"{turn.field}.content[{index}]")
        for turn in turns:
            content = [part for part in turn.parts if isinstance(part, Text | Image | Document)]
            field = f"{turn.field}.content"
            if content and returned:
                parts = [write_part(part, field, marks=self._marks) for part in content]
                self._add("user", turn.name, content=[*returned, *parts])
                returned = []
            elif content:
                written = write_content(content, field, marks=self._marks)
                self._add("user", turn.name, content=written)
        if returned:
            self._add("user", "", content=returned)

    def _result(self, result: ToolResult, field: str) -> list[dict[str, Any]]:
        """Add the result's message; return what has to stand in a user's message behind it."""
        texts: list[Text | Image | Document] = []
        others: list[Text | Image | Document] = []
        for part in result.parts:
            is_text = isinstance(part, Text) or (isinstance(part, Document) and part.text is not None)
            (texts if is_text else others).append(part)
        if result.is_error:
            note(self._conversation, "is_error of tool results: as text")
        content = write_content(texts, field, marks=self._marks)
        if result.is_error:
            said = [content] if isinstance(content, str) else [str(part.get("text", "")) for part in content]
            content = ERROR_MARK + "\n".join(said)
        if others and not content:
            content = FILES_FOLLOW
        if result.cache is not None and self._marks != "none":
            content = [{"type": "text", "text": content}] if isinstance(content, str) else content
            put_mark(content[-1], result.cache, self._marks)
        self._add("tool", result.name, tool_call_id=result.call_id, content=content)
        if not others:
            return []
        note(self._conversation, "files in tool results: moved to a user message")
        label = {"type": "text", "text": f"What tool call {result.call_id} returned beside its text:"}
        return [label, *(write_part(part, field, marks="none") for part in others)]

    def _add(self, role: str, name: str, **members: Any) -> None:
        message: Message = {"role": role}
        if name:
            message["name"] = name
        self._messages.append({**message, **members})

    def _answer(self, turns: list[Turn]) -> None:
        """One assistant's message out of consecutive turns."""
        parts = [part for turn in turns for part in turn.parts]
        message = self._assistant(parts)
        if message:
            self._add("assistant", turns[0].name, **message)

    def _assistant(self, parts: list[Part]) -> Message:
        texts = [part for part in parts if isinstance(part, Text | Refusal)]
        calls = [part for part in parts if isinstance(part, ToolCall)]
        images = [part for part in parts if isinstance(part, Image)]
        message: Message = {}
        if texts or calls or images:
            message["content"] = self._said(texts) or None
        message |= self._reasoning([part for part in parts if isinstance(part, Thinking)])
        if images:
            message["images"] = [image_object(image) for image in images]
        if calls:
            extras = _extras(parts)
            message["tool_calls"] = [self._call(call, extras.get(call.id)) for call in calls]
        return message if texts or calls or images else {}

    def _said(self, texts: list[Text | Refusal]) -> str | list[dict[str, Any]]:
        """What the assistant said, as one string; in parts where a cache mark has to stand behind one."""
        if self._marks != "none" and any(isinstance(text, Text) and text.cache is not None for text in texts):
            plain = [text if isinstance(text, Text) else Text(text.text) for text in texts]
            return [write_part(text, "", marks=self._marks) for text in plain]
        return "".join(text.text for text in texts)

    def _reasoning(self, thoughts: list[Thinking]) -> Message:
        """What this protocol's providers want back: their own. A thought that another one sealed is left out whole."""
        message: Message = {}
        texts: list[str] = []
        entries: list[dict[str, Any]] = []
        for thought in thoughts:
            if thought.seal is None:
                texts.append(thought.text)
            elif thought.seal.family != CHAT:
                note(self._conversation, "reasoning of another provider: left out")
            elif not thought.seal.item_id:
                entries += write_details(thought, len(entries))
        if texts:
            message["reasoning_content"] = "".join(texts)
        if entries:
            message["reasoning_details"] = entries
        return message

    def _call(self, call: ToolCall, extra_content: object) -> dict[str, Any]:
        name = plain_name(call.name, most=MAX_NAME_CHARS)
        if call.is_custom and self._knows_custom:
            shown: dict[str, Any] = {"type": "custom", "custom": {"name": name, "input": call.arguments}}
        else:
            arguments = wrap_input(call.arguments) if call.is_custom else call.arguments or "{}"
            shown = {"type": "function", "function": {"name": name, "arguments": arguments}}
        shown = {"id": call.id, **shown}
        if extra_content is not None:
            shown["extra_content"] = extra_content
        if self._marks == "cache_control":
            put_mark(shown, call.cache, self._marks)
        return shown


def _answers(turns: Iterable[Turn]) -> list[list[Turn]]:
    """Consecutive turns by the answer that they belong to: another text is another answer, unless calls wait for their
    results in between."""
    answers: list[list[Turn]] = []
    has_text = has_calls = False
    for turn in turns:
        says = any(isinstance(part, Text | Refusal) for part in turn.parts)
        if not answers or (says and has_text and not has_calls):
            answers.append([])
            has_text = has_calls = False
        answers[-1].append(turn)
        has_text = has_text or says
        has_calls = has_calls or any(isinstance(part, ToolCall) for part in turn.parts)
    return answers


def _extras(parts: list[Part]) -> dict[str, Any]:
    """What a provider of this dialect put beside its tool calls, by their ids."""
    extras: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Thinking) and part.seal is not None and part.seal.family == CHAT and part.seal.item_id:
            try:
                extras[part.seal.item_id] = msgspec.json.decode(part.seal.payload)
            except (ValueError, RecursionError):
                continue
    return extras
