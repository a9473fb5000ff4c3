"""Turns of the hub as contents: a model's and a user's by turns, every signature on the part that it belongs to."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

import msgspec
from msgspec import Raw

from apps.dialects.gemini.parts import END, PICTURE, TEXT
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
from apps.dialects.hub.reasoning import GEMINI
from apps.dialects.hub.sent import plain_name

Shown = dict[str, Any]

MAX_NAME_CHARS: Final = 64
NO_SIGNATURE: Final = "skip_thought_signature_validator"
"""What the provider documents for calls that it did not make itself: models that want signatures refuse a call without
one, and clients drop what they do not know."""

_MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
}
_EMPTY: Final = Raw(b"{}")
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


class Writer:
    """Writes one conversation's contents and its system instruction."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._names: dict[str, str] = {}
        """Tools by the ids of their calls: results have to name them."""
        self.system: list[Shown] = []

    def write(self) -> list[Shown]:
        contents: list[Shown] = []
        said: list[Turn] = []
        for turn in self._conversation.turns:
            if turn.role in ("system", "developer"):
                self._system(turn, is_late=bool(said))
            else:
                said.append(turn)
        for role, group in groupby(said, key=lambda turn: turn.role):
            turns = list(group)
            parts = self._model(turns) if role == "assistant" else self._user(turns)
            name = "model" if role == "assistant" else "user"
            if parts and contents and contents[-1]["role"] == name:
                contents[-1]["parts"] += parts
            elif parts:
                contents.append({"role": name, "parts": parts})
        if not contents:
            # Somebody has to speak first: where there are only instructions, the user gives them.
            contents, self.system = [{"role": "user", "parts": self.system}], []
        return contents

    def _system(self, turn: Turn, *, is_late: bool) -> None:
        texts = [part.text for part in turn.parts if isinstance(part, Text) and part.text]
        if texts and is_late:
            note(self._conversation, f"{turn.field} {turn.role}: moved to the front")
        self.system += [{"text": text} for text in texts]

    def _user(self, turns: list[Turn]) -> list[Shown]:
        """All results of tools first, in one content; files that tools returned stand behind the last result."""
        results: list[Shown] = []
        returned: list[Shown] = []
        said: list[Shown] = []
        for turn in turns:
            for part in turn.parts:
                if isinstance(part, ToolResult):
                    results.append(self._result(part, returned))
                elif isinstance(part, Text | Image | Document):
                    said += self._part(part)
        return [*results, *returned, *said]

    def _part(self, part: Text | Image | Document) -> list[Shown]:
        if isinstance(part, Text):
            return [{"text": part.text}] if part.text else []
        if isinstance(part, Image):
            if part.detail and part.detail != "auto":
                note(self._conversation, "image detail: left out")
            return [_media(part.media_type or "image/png", part.data, part.url)]
        if part.wants_citations:
            note(self._conversation, "citations: left out")
        about = [{"text": "\n".join(line for line in (part.name, part.context) if line)}]
        head = about if part.context or (part.name and part.text is not None) else []
        if part.text is not None:
            return [*head, {"text": part.text}]
        return [*head, _media(part.media_type or "application/pdf", part.data, part.url)]

    def _result(self, result: ToolResult, returned: list[Shown]) -> Shown:
        texts = [part.text for part in result.parts if isinstance(part, Text | Document) and part.text]
        files = [part for part in result.parts if not isinstance(part, Text) and not getattr(part, "text", None)]
        name = result.name or self._names.get(result.call_id) or result.call_id
        if files:
            note(self._conversation, "files in tool results: moved behind them")
            returned.append({"text": f"What tool call {result.call_id} returned beside its text:"})
            for part in files:
                returned += self._part(part)
        response = {"error" if result.is_error else "output": "\n".join(texts)}
        shown = {"id": result.call_id, "name": plain_name(name, most=MAX_NAME_CHARS), "response": response}
        return {"functionResponse": shown}

    def _model(self, turns: list[Turn]) -> list[Shown]:
        """One answer out of consecutive turns. A thought without text signs the part that it names."""
        answer = _Answer([part for turn in turns for part in turn.parts])
        shown: list[Shown] = []
        for part in answer.parts:
            match part:
                case Thinking():
                    shown += self._thought(part)
                case Text() | Refusal() if part.text:
                    shown += answer.sign_text(part)
                case Image():
                    shown.append(answer.sign_image(_media(part.media_type or "image/png", part.data, part.url)))
                case ToolCall():
                    shown.append(answer.sign_call(part.id, self._call(part)))
        calls = [part for part in shown if "functionCall" in part]
        if calls and not any("thoughtSignature" in call for call in calls):
            note(self._conversation, "tool calls without a thought signature: sent as such")
            calls[0]["thoughtSignature"] = NO_SIGNATURE
        return [*shown, *answer.rest()]

    def _thought(self, thought: Thinking) -> list[Shown]:
        seal = thought.seal
        if seal is not None and seal.family == GEMINI:
            if seal.item_id:
                return []
            return [{"text": thought.text, "thought": True, "thoughtSignature": seal.payload}]
        if seal is not None:
            note(self._conversation, "reasoning of another provider: left out")
        elif thought.text and not thought.is_summary:
            note(self._conversation, "reasoning of earlier answers: left out")
        return []

    def _call(self, call: ToolCall) -> Shown:
        self._names[call.id] = call.name
        arguments = wrap_input(call.arguments) if call.is_custom else call.arguments
        shown: Shown = {
            "id": call.id,
            "name": plain_name(call.name, most=MAX_NAME_CHARS),
            "args": _arguments(arguments),
        }
        return {"functionCall": shown}


class _Answer:
    """The parts of one answer, and the signatures that are still to be put on one."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        seals = [part.seal for part in parts if isinstance(part, Thinking) and part.seal is not None]
        self._signatures = {seal.item_id: seal.payload for seal in seals if seal.family == GEMINI and seal.item_id}
        self._texts = 0
        self._images = 0

    def sign_text(self, part: Text | Refusal) -> list[Shown]:
        place = self._texts
        self._texts += 1
        shown = [self._signed(f"{TEXT}{place}", {"text": part.text})]
        behind = self._signatures.pop(f"{END}{place}", None)
        return shown if behind is None else [*shown, {"text": "", "thoughtSignature": behind}]

    def sign_image(self, shown: Shown) -> Shown:
        self._images += 1
        return self._signed(f"{PICTURE}{self._images - 1}", shown)

    def sign_call(self, call_id: str, shown: Shown) -> Shown:
        return self._signed(call_id, shown)

    def rest(self) -> list[Shown]:
        """Signatures of texts that a client joined into one: they stand behind it, as at the end of a stream."""
        left = [payload for name, payload in self._signatures.items() if name.startswith((TEXT, END))]
        return [{"text": "", "thoughtSignature": payload} for payload in left]

    def _signed(self, name: str, shown: Shown) -> Shown:
        payload = self._signatures.pop(name, None)
        return shown if payload is None else {**shown, "thoughtSignature": payload}


def _media(media_type: str, data: str | Raw, url: str) -> Shown:
    if not url:
        return {"inlineData": {"mimeType": media_type, "data": data}}
    suffix = url.partition("?")[0].rpartition(".")[2].lower()
    return {"fileData": {"mimeType": _MEDIA_TYPES.get(suffix, media_type), "fileUri": url}}


def _arguments(text: str) -> Any:
    """The arguments as an object, byte for byte where they are one."""
    if not text:
        return _EMPTY
    try:
        _OBJECT.decode(text)
    except (ValueError, RecursionError):
        return {"arguments": text}
    return Raw(text.encode())
