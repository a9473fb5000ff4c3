"""What a tool is called upstream where its caller's name or kind cannot be said there, and the way back.

Shape:  `mcp.search` (no dots allowed)      ->  `mcp_search_1f0c9a3e`     ->  `mcp.search`
        `patch`, free text                  ->  a function of `input`     ->  `patch`, free text
        "any JSON object", no word for it   ->  one tool, which must be called  ->  its arguments as the answer's text
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending
from apps.dialects.hub.conversation import Conversation, Text, Tool, ToolCall
from apps.dialects.hub.custom import as_function, unwrap_input
from apps.dialects.hub.events import BlockBegin, BlockEnd, Delta, Ended, HubEvent

_REFUSED: Final = re.compile(r"[^a-zA-Z0-9_-]")
_KEPT_CHARS: Final = 40


def plain_name(name: str, *, most: int) -> str:
    """The name itself where it is 1 to `most` letters, digits, `_` and `-`; else one that is, always the same one."""
    if name and len(name) <= most and _REFUSED.search(name) is None:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_REFUSED.sub('_', name)[: min(_KEPT_CHARS, most - 9)]}_{digest}"


def tool_to_send(conversation: Conversation, tool: Tool, *, most_chars: int, knows_custom: bool = False) -> Tool:
    """The tool under a name, and of a kind, that the upstream knows. What was changed is changed back on the way."""
    name = plain_name(tool.name, most=most_chars)
    is_custom = tool.is_custom and not knows_custom
    if name == tool.name and not is_custom:
        return tool
    conversation.sent[name] = tool
    return replace(as_function(tool) if is_custom else tool, name=name)


def restore_answer(answer: Answer, conversation: Conversation) -> Answer:
    """The answer with the caller's own tools in it."""
    if conversation.sent or conversation.answer_tool:
        for choice in answer.choices:
            _restore_choice(choice, conversation)
    return answer


def _restore_choice(choice: Choice, conversation: Conversation) -> None:
    choice.parts = [_restore_part(part, conversation) for part in choice.parts]
    if conversation.answer_tool:
        choice.ending = _ending(choice.ending, has_calls=any(isinstance(part, ToolCall) for part in choice.parts))


def _restore_part(part: AnswerPart, conversation: Conversation) -> AnswerPart:
    if not isinstance(part, ToolCall):
        return part
    if conversation.answer_tool and part.name == conversation.answer_tool:
        return Text(part.arguments or "{}")
    tool = conversation.sent.get(part.name)
    if tool is None:
        return part
    arguments = unwrap_input(part.arguments) if tool.is_custom else part.arguments
    return replace(part, name=tool.name, arguments=arguments, is_custom=tool.is_custom)


def _ending(ending: Ending, *, has_calls: bool) -> Ending:
    """Where the only call was the answer itself, no call is pending."""
    return replace(ending, reason="end") if ending.reason == "tools" and not has_calls else ending


class Restorer:
    """The same for a stream: one machine between its reader and its writer."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._inputs: dict[tuple[int, int], list[str]] = {}
        """Arguments of free-text tools, which are JSON until they are whole."""
        self._answers: dict[tuple[int, int], bool] = {}
        """Blocks whose arguments are the answer, and whether one came."""
        self._has_calls = False

    def restore(self, events: Iterable[HubEvent]) -> Sequence[HubEvent]:
        restored: list[HubEvent] = []
        for event in events:
            kind = type(event)
            if kind is BlockBegin:
                restored.append(self._begin(event))  # type: ignore[arg-type]
            elif kind is Delta:
                self._delta(event, restored)  # type: ignore[arg-type]
            elif kind is BlockEnd:
                self._end(event, restored)  # type: ignore[arg-type]
            elif kind is Ended and self._conversation.answer_tool:
                ending = _ending(event.ending, has_calls=self._has_calls)  # type: ignore[union-attr]
                restored.append(Ended(ending, event.choice))  # type: ignore[union-attr]
            else:
                restored.append(event)
        return restored

    def _begin(self, event: BlockBegin) -> BlockBegin:
        if event.kind != "tool_call":
            return event
        key = (event.choice, event.block)
        answer_tool = self._conversation.answer_tool
        if answer_tool and event.name == answer_tool:
            self._answers[key] = False
            return BlockBegin(event.block, "text", event.choice)
        self._has_calls = True
        tool = self._conversation.sent.get(event.name)
        if tool is None:
            return event
        if tool.is_custom:
            self._inputs[key] = []
        return BlockBegin(event.block, "tool_call", event.choice, event.id, tool.name, tool.is_custom)

    def _delta(self, event: Delta, restored: list[HubEvent]) -> None:
        key = (event.choice, event.block)
        held = self._inputs.get(key)
        if held is not None:
            held.append(event.text)
            return
        if key in self._answers:
            self._answers[key] = True
        restored.append(event)

    def _end(self, event: BlockEnd, restored: list[HubEvent]) -> None:
        key = (event.choice, event.block)
        held = self._inputs.pop(key, None)
        if held is not None:
            restored.append(Delta(event.block, unwrap_input("".join(held)), event.choice))
        elif self._answers.pop(key, True) is False:
            restored.append(Delta(event.block, "{}", event.choice))
        restored.append(event)
