"""Gemini generateContent and streamGenerateContent.

Source: provider's API reference, read 2026-11. Its streams use CRLF and repeat the usage on every chunk.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from apps.core.tokens import TokenUsage
from apps.upstreams.simulator import canvas, prompt, reading, seal
from apps.upstreams.simulator.answer import CHUNK_CHARS
from apps.upstreams.simulator.prompt import Context, Listener, Prompt, Refusal, Thinking, Tool, ToolChoice
from apps.upstreams.simulator.reply import Frame, encode
from apps.upstreams.simulator.wires.protocol import FAILED, Request, Speech, short_id

FINISH: Final = {"end": "STOP", "stop_sequence": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"}
THINKING_SENTENCE_TOKENS: Final = 512

_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GeminiWire:
    """The model, and whether to stream, are in the path."""

    caches_by_itself = False

    def read(self, request: Request) -> Prompt:
        fields = request.fields
        config = reading.mapping(fields.get("generationConfig"))
        context, listener = Context(), Listener()
        functions = _functions(fields, context)
        system = fields.get("systemInstruction") or fields.get("system_instruction")
        _read_parts(reading.mapping(system).get("parts"), "systemInstruction", context)
        contents = reading.objects(fields.get("contents"), "contents", is_required=True)
        for place, content in enumerate(contents):
            _read_content(content, f"contents[{place}]", context, listener)
        talk, directives = listener.heard()
        return Prompt(
            model=request.model,
            fields=fields,
            context=context,
            talk=talk,
            directives=directives,
            is_stream=request.is_stream,
            tools=functions,
            tool_choice=_tool_choice(fields),
            max_tokens=reading.integer(config, "maxOutputTokens", least=1),
            stop=reading.stops(config.get("stopSequences"), "stopSequences"),
            schema=_schema(config),
            thinking=_thinking(reading.mapping(config.get("thinkingConfig"))),
            canvas=canvas.for_gemini(config),
        )

    def plain(self, speech: Speech) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        for part in _parts(speech):
            _join(parts, part)
        return _chunk(speech, parts, is_last=True)

    def stream(self, speech: Speech) -> Iterator[Frame]:
        for part in _parts(speech):
            yield _frame(_chunk(speech, [part]), is_content=True)
        yield _frame(_chunk(speech, [{"text": ""}], is_last=True))

    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        status = _STATUS.get(refusal.status, "FAILED_PRECONDITION" if refusal.status < 500 else "INTERNAL")
        return {"error": {"code": refusal.status, "message": refusal.message, "status": status}}

    def fail(self, speech: Speech) -> tuple[int, dict[str, Any]]:
        return 500, self.refuse(Refusal(FAILED, status=500))

    def break_off(self, speech: Speech, *, sent: int) -> Iterable[Frame]:
        return [_frame(self.refuse(Refusal(FAILED, status=500)))]


def _functions(fields: Mapping[str, Any], context: Context) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for tool in reading.objects(fields.get("tools"), "tools"):
        context.add_bytes(reading.canonical(tool))
        declared = tool.get("functionDeclarations") or tool.get("function_declarations")
        for function in reading.objects(declared, "functionDeclarations"):
            schema = function.get("parametersJsonSchema") or function.get("parameters")
            found.append(Tool(reading.text(function, "name"), reading.mapping(schema)))
    return tuple(found)


def _read_content(content: Mapping[str, Any], name: str, context: Context, listener: Listener) -> None:
    role = content.get("role", "user")
    if role not in ("user", "model", "function"):
        raise Refusal("Please use a valid role: user, model.")
    context.add(f"\n{role}: ")
    parts = _read_parts(content.get("parts"), name, context)
    context.end_block()
    if role == "model":
        called = [reading.mapping(part.get("functionCall")) for part in parts if "functionCall" in part]
        listener.assistant_answers([str(call.get("name")) for call in called])
        return
    results = [reading.mapping(part["functionResponse"]) for part in parts if "functionResponse" in part]
    if not results:
        listener.user_says([str(part["text"]) for part in parts if "text" in part])
    for result in results:
        listener.tool_returns(encode(result.get("response")).decode())


def _read_parts(value: Any, name: str, context: Context) -> list[dict[str, Any]]:
    parts = reading.objects(value, f"{name}.parts")
    for part in parts:
        if isinstance(text := part.get("text"), str):
            context.add(text)
        elif (data := part.get("inlineData") or part.get("inline_data")) is not None:
            context.add_image(str(data))
        elif "functionCall" in part or "functionResponse" in part:
            context.add_bytes(reading.canonical(part))
        else:
            context.add_document(str(part))
    return parts


def _tool_choice(fields: Mapping[str, Any]) -> ToolChoice:
    config = reading.mapping(reading.mapping(fields.get("toolConfig")).get("functionCallingConfig"))
    names = config.get("allowedFunctionNames")
    match str(config.get("mode", "AUTO")).upper():
        case "NONE":
            return ToolChoice("none")
        case "ANY":
            return ToolChoice("required", names[0] if isinstance(names, list) and len(names) == 1 else None)
    return ToolChoice()


def _schema(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if schema is not None:
        return reading.mapping(schema)
    return {} if config.get("responseMimeType") == "application/json" else None


def _thinking(config: Mapping[str, Any]) -> Thinking | None:
    is_shown = config.get("includeThoughts") is True
    if isinstance(level := config.get("thinkingLevel"), str):
        return prompt.think(level.lower(), is_shown=is_shown)
    budget = config.get("thinkingBudget")
    if isinstance(budget, int) and budget > 0:
        return Thinking(min(-(-budget // THINKING_SENTENCE_TOKENS), prompt.EFFORTS["max"]), is_shown)
    return prompt.think("medium", is_shown=True) if is_shown and budget != 0 else None


def _parts(speech: Speech) -> Iterator[dict[str, Any]]:
    """The answer's parts, in the pieces that they stream as."""
    answer, thinking = speech.answer, speech.prompt.thinking
    if answer.thought and thinking is not None and thinking.is_shown:
        for start in range(0, len(answer.thought), CHUNK_CHARS):
            yield {"text": answer.thought[start : start + CHUNK_CHARS], "thought": True}
    for text in answer.chunks:
        yield {"text": text}
    for place, call in enumerate(answer.calls):
        part: dict[str, Any] = {
            "functionCall": {
                "id": short_id("call_", speech, place),
                "name": call.name,
                "args": msgspec.json.decode(call.arguments),
            }
        }
        if answer.thought and place == 0:
            part["thoughtSignature"] = seal.seal(answer.thought)
        yield part
    for image in answer.images:
        yield {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(image).decode()}}


def _join(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Add a part; text that goes on where the last one stopped is one part in a plain reply."""
    if parts and "text" in part and "text" in parts[-1] and part.get("thought") == parts[-1].get("thought"):
        parts[-1] = {**parts[-1], "text": parts[-1]["text"] + part["text"]}
    else:
        parts.append(part)


def _chunk(speech: Speech, parts: list[dict[str, Any]], *, is_last: bool = False) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if is_last:
        candidate["finishReason"] = FINISH[speech.answer.stop]
    body: dict[str, Any] = {
        "candidates": [candidate],
        "modelVersion": speech.prompt.model,
        "responseId": speech.id,
    }
    if speech.usage is not None:
        body["usageMetadata"] = _usage(speech.usage, is_last=is_last)
    return body


def _frame(payload: Mapping[str, Any], *, is_content: bool = False) -> Frame:
    return Frame(b"data: " + encode(payload) + b"\r\n\r\n", is_content)


def _usage(usage: TokenUsage, *, is_last: bool) -> dict[str, Any]:
    """`candidatesTokenCount` leaves thoughts out; chunks before the last one know only the prompt."""
    shown: dict[str, Any] = {"promptTokenCount": usage.prompt, "totalTokenCount": usage.prompt}
    if usage.cache_read:
        shown["cachedContentTokenCount"] = usage.cache_read
    details = [{"modality": "TEXT", "tokenCount": usage.prompt - usage.image_input}]
    if usage.image_input:
        details.append({"modality": "IMAGE", "tokenCount": usage.image_input})
    shown["promptTokensDetails"] = details
    if not is_last:
        return shown
    shown["candidatesTokenCount"] = usage.output - usage.reasoning
    shown["totalTokenCount"] = usage.total
    if usage.reasoning:
        shown["thoughtsTokenCount"] = usage.reasoning
    if usage.image_output:
        shown["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": usage.image_output}]
    return shown
