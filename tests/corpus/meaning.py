"""What a recorded reply says, read without the gateway's help: text, tool calls, why it ended, what it used."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from tests.corpus.recordings import Recording, events_of
from tests.corpus.streams import fails

EDITED: Final = {"openai-responses-079"}
"""By hand: its pieces do not make up its whole."""


def is_told(recording: Recording) -> bool:
    """Whether it is an answer: no error, and one that others than its provider have words for."""
    if recording.status != 200 or recording.dialect == "openai-images" or fails(recording):
        return False
    if recording.name in EDITED:
        return False
    if recording.is_stream:
        return True
    body = recording.body
    if recording.dialect == "gemini" and not body.get("candidates") and not body.get("promptFeedback"):
        return False
    return not body.get("error") and body.get("status", "completed") in {"completed", "incomplete"}


@dataclass(slots=True)
class Meaning:
    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """Name and arguments of each call of a tool that the caller runs."""
    stop: str = ""
    """end · stop_sequence · length · tools · refusal · filtered · pause · other."""
    native: str = ""
    """The provider's own word."""
    images: int = 0


CHAT_STOPS: Final = {
    "stop": "end", "length": "length", "tool_calls": "tools", "function_call": "tools", "content_filter": "filtered",
}  # fmt: skip
MESSAGES_STOPS: Final = {
    "end_turn": "end", "stop_sequence": "stop_sequence", "max_tokens": "length", "tool_use": "tools",
    "refusal": "refusal", "pause_turn": "pause", "model_context_window_exceeded": "length",
}  # fmt: skip
GEMINI_STOPS: Final = {
    "STOP": "end", "1": "end", "MAX_TOKENS": "length", "2": "length", "UNEXPECTED_TOOL_CALL": "other",
    "MALFORMED_FUNCTION_CALL": "other",
}  # fmt: skip


def meaning(recording: Recording) -> Meaning:
    """Of its first choice."""
    read = {
        "openai-chat": _chat,
        "openai-responses": _responses,
        "anthropic-messages": _messages,
        "gemini": _gemini,
    }[recording.dialect]
    return read(recording)


def arguments_of(text: Any) -> Any:
    """Arguments as JSON; as they are, where a model wrote something else."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _events(recording: Recording) -> list[Any]:
    return [event.json for event in events_of(recording.raw) if event.json != "[DONE]"]


def _chat(recording: Recording) -> Meaning:
    if not recording.is_stream:
        choice = recording.body["choices"][0]
        message = choice.get("message") or {}
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        calls = [call["function"] for call in message.get("tool_calls") or () if "function" in call]
        said = Meaning(
            text=content or message.get("refusal") or "",
            calls=[(call["name"], arguments_of(call["arguments"])) for call in calls],
            stop=CHAT_STOPS.get(choice["finish_reason"], "other"),
            native=choice["finish_reason"],
            images=len(message.get("images") or ()),
        )
        if message.get("refusal"):
            said.stop = "refusal"
        return said
    said = Meaning()
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for chunk in _events(recording):
        for choice in chunk.get("choices", ()):
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            said.text += delta.get("content") or delta.get("refusal") or ""
            said.images += len(delta.get("images") or ())
            for place, call in enumerate(delta.get("tool_calls") or ()):
                index = call.get("index", place)
                function = call.get("function") or {}
                names[index] = function.get("name") or names.get(index, "")
                arguments[index] = arguments.get(index, "") + (function.get("arguments") or "")
            if choice.get("finish_reason"):
                said.stop = CHAT_STOPS.get(choice["finish_reason"], "other")
            if delta.get("refusal"):
                said.stop = "refusal"
    said.calls = [(names[index], arguments_of(arguments[index])) for index in sorted(names)]
    return said


def _responses(recording: Recording) -> Meaning:
    response = _events(recording)[-1]["response"] if recording.is_stream else recording.body
    said = Meaning(stop="end")
    for item in response["output"]:
        if item["type"] == "message":
            for part in item["content"]:
                said.text += part.get("text") or part.get("refusal") or ""
                if part["type"] == "refusal":
                    said.stop = "refusal"
        elif item["type"] == "function_call":
            said.calls.append((item["name"], arguments_of(item["arguments"])))
        elif item["type"] == "custom_tool_call":
            said.calls.append((item["name"], {"input": item["input"]}))
        elif item["type"] == "image_generation_call":
            said.images += 1
    if said.calls:
        said.stop = "tools"
    if response["status"] == "incomplete":
        reason = response["incomplete_details"]["reason"]
        said.stop = {"max_output_tokens": "length", "content_filter": "filtered"}.get(reason, "other")
    return said


def _messages(recording: Recording) -> Meaning:
    if not recording.is_stream:
        native = recording.body["stop_reason"]
        said = Meaning(stop=MESSAGES_STOPS.get(native, "other"), native=native)
        for block in recording.body["content"]:
            if block["type"] == "text":
                said.text += block["text"]
            elif block["type"] == "tool_use":
                said.calls.append((block["name"], block["input"]))
        return _explained(said, recording.body.get("stop_details"))
    said = Meaning()
    details: Any = None
    inputs: dict[int, list[str]] = {}
    names: dict[int, str] = {}
    for event in _events(recording):
        if event["type"] == "content_block_start":
            block = event["content_block"]
            said.text += block.get("text", "") if block["type"] == "text" else ""
            if block["type"] == "tool_use":
                names[event["index"]] = block["name"]
                inputs[event["index"]] = [json.dumps(block["input"])] if block.get("input") else []
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            said.text += delta.get("text", "")
            if event["index"] in inputs:
                inputs[event["index"]].append(delta.get("partial_json", ""))
        elif event["type"] == "message_delta":
            said.native = event["delta"]["stop_reason"]
            said.stop = MESSAGES_STOPS.get(said.native, "other")
            details = event["delta"].get("stop_details")
    said.calls = [(name, arguments_of("".join(inputs[index]))) for index, name in names.items()]
    return _explained(said, details)


def _explained(said: Meaning, details: Any) -> Meaning:
    """A refusal that says nothing but why: that is what other dialects have to show."""
    if said.stop == "refusal" and not said.text and details:
        said.text = details.get("explanation") or ""
    return said


def _gemini(recording: Recording) -> Meaning:
    said = Meaning()
    for reply in _events(recording) if recording.is_stream else [recording.body]:
        if reply.get("promptFeedback", {}).get("blockReason") and not reply.get("candidates"):
            said.stop = "filtered"
        for candidate in (reply.get("candidates") or ())[:1]:
            for part in candidate.get("content", {}).get("parts") or ():
                if "functionCall" in part:
                    _hear_call(said, part["functionCall"])
                elif "inlineData" in part:
                    said.images += not part.get("thought")
                elif not part.get("thought"):
                    said.text += part.get("text", "")
            if candidate.get("finishReason"):
                said.native = str(candidate["finishReason"])
                said.stop = GEMINI_STOPS.get(said.native, "filtered")
    if said.calls and said.stop == "end":
        said.stop = "tools"
    return said


def _hear_call(said: Meaning, call: dict[str, Any]) -> None:
    """A call, or one that streams its arguments: `$.location` of the last one that was named."""
    if call.get("name"):
        said.calls.append((call["name"], call.get("args") or {}))
    for piece in call.get("partialArgs") or ():
        name = piece["jsonPath"].removeprefix("$.")
        arguments = said.calls[-1][1]
        arguments[name] = arguments.get(name, "") + piece["stringValue"]
