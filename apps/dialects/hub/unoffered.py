"""Calls of free-text tools that the caller never offered: a provider's own, shown to callers who know only JSON.

Shape:  x_search, `from:xai`  ->  a function call of x_search, {"input": "from:xai"}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from apps.dialects.hub.answer import Answer
from apps.dialects.hub.conversation import Conversation, ToolCall
from apps.dialects.hub.custom import wrap_input
from apps.dialects.hub.events import BlockBegin, BlockEnd, Delta, HubEvent

_OPEN: Final = '{"input":"'
_CLOSE: Final = '"}'
_ENCODER: Final = msgspec.json.Encoder()


def offered(conversation: Conversation) -> frozenset[str]:
    """The caller's own free-text tools."""
    return frozenset(tool.name for tool in conversation.tools if tool.is_custom)


def as_functions(answer: Answer, conversation: Conversation) -> Answer:
    """The answer with such calls as function calls."""
    for choice in answer.choices:
        for place, part in enumerate(choice.parts):
            if isinstance(part, ToolCall) and part.is_custom and part.name not in offered(conversation):
                choice.parts[place] = replace(part, arguments=wrap_input(part.arguments), is_custom=False)
    return answer


class Wrapper:
    """The same for a stream: their text becomes JSON piece by piece."""

    def __init__(self, conversation: Conversation) -> None:
        self._offered = offered(conversation)
        self.open: set[tuple[int, int]] = set()
        """Such calls that are under way: choice and block."""

    def wrap(self, events: Iterable[HubEvent]) -> Sequence[HubEvent]:
        wrapped: list[HubEvent] = []
        for event in events:
            if isinstance(event, BlockBegin) and event.is_custom and event.name not in self._offered:
                self.open.add((event.choice, event.block))
                begin = BlockBegin(event.block, "tool_call", event.choice, event.id, event.name)
                wrapped += [begin, Delta(event.block, _OPEN, event.choice)]
            elif isinstance(event, Delta) and (event.choice, event.block) in self.open:
                piece = _ENCODER.encode(event.text)[1:-1].decode()
                wrapped.append(Delta(event.block, piece, event.choice))
            elif isinstance(event, BlockEnd) and (event.choice, event.block) in self.open:
                self.open.discard((event.choice, event.block))
                wrapped += [Delta(event.block, _CLOSE, event.choice), event]
            else:
                wrapped.append(event)
        return wrapped
