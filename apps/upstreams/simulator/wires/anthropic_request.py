"""Reading an Anthropic Messages request, as strictly as the provider does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from apps.upstreams.simulator import prompt, reading, seal
from apps.upstreams.simulator.prompt import (
    MAX_CACHE_MARKS,
    Context,
    Listener,
    Prompt,
    Refusal,
    Thinking,
    Tool,
    ToolChoice,
)
from apps.upstreams.simulator.wires.protocol import Request

ROLES: Final = ("user", "assistant", "system")
"""`system` in the middle of a conversation is what newer models take."""

THINKING_SENTENCE_TOKENS: Final = 512
"""One sentence of thought per so many tokens of budget."""


def read_request(request: Request, *, needs_max_tokens: bool) -> Prompt:
    """Read the body of /v1/messages, or of /v1/messages/count_tokens (which needs no `max_tokens`).

    Raises: Refusal.
    """
    fields = request.fields
    if not request.headers.get("anthropic-version"):
        raise Refusal("anthropic-version: header is required")
    model = _required_text(fields, "model")
    max_tokens = reading.integer(fields, "max_tokens", least=1)
    if needs_max_tokens and max_tokens is None:
        raise Refusal("max_tokens: Field required")
    messages = reading.objects(fields.get("messages"), "messages", is_required=True)
    tools = reading.objects(fields.get("tools"), "tools")
    reading.check_range(fields, "temperature", most=1)
    context, listener = Context(), Listener()
    for tool in tools:
        context.add_bytes(reading.canonical(tool))
        context.end_block(reading.cache_ttl(tool, "tools"))
    _read_system(fields.get("system"), context)
    pending: set[str] = set()
    for place, message in enumerate(messages):
        pending = _read_message(message, f"messages.{place}", context, listener, pending)
    if (ttl := reading.cache_ttl(fields, "request")) is not None:
        context.mark_end(ttl)
    _check_marks(context)
    talk, directives = listener.heard()
    return Prompt(
        model=model,
        fields=fields,
        context=context,
        talk=talk,
        directives=directives,
        is_stream=reading.flag(fields, "stream"),
        tools=tuple(
            Tool(_required_text(tool, "name"), reading.mapping(tool["input_schema"]))
            for tool in tools
            if "input_schema" in tool
        ),
        tool_choice=_tool_choice(fields.get("tool_choice"), has_tools=bool(tools)),
        max_tokens=max_tokens,
        stop=reading.stops(fields.get("stop_sequences"), "stop_sequences"),
        schema=_schema(fields),
        thinking=_thinking(fields, max_tokens),
    )


def _required_text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(f"{name}: Field required")
    return value


def _read_system(system: Any, context: Context) -> None:
    if isinstance(system, str):
        context.add(system)
        context.end_block()
    else:
        _read_blocks(system, "system", context)


def _read_message(
    message: Mapping[str, Any], name: str, context: Context, listener: Listener, pending: set[str]
) -> set[str]:
    """Take one message in. `pending` are the tool calls that it must answer; returns those it opens."""
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise Refusal(f'{name}.role: Input should be "user" or "assistant"')
    context.add(f"\n{role}: ")
    if isinstance(content, str):
        if not content and role == "user":
            raise Refusal(f"{name}: user messages must have non-empty content")
        context.add(content)
        context.end_block()
        blocks: list[dict[str, Any]] = [{"type": "text", "text": content}]
    else:
        if content is None:
            raise Refusal(f"{name}.content: Field required")
        blocks = _read_blocks(content, f"{name}.content", context)
    texts = [str(block.get("text")) for block in blocks if block.get("type") == "text"]
    if role == "assistant":
        listener.assistant_answers([str(block.get("name")) for block in blocks if block.get("type") == "tool_use"])
        return {str(block.get("id")) for block in blocks if block.get("type") == "tool_use"}
    if role == "system":
        return pending
    results = [block for block in blocks if block.get("type") == "tool_result"]
    _check_results(name, results, pending)
    if not results:
        listener.user_says(texts)
    for block in results:
        listener.tool_returns(_result_text(block.get("content")))
    return set()


def _check_results(name: str, results: list[dict[str, Any]], pending: set[str]) -> None:
    answered = {str(block.get("tool_use_id")) for block in results}
    if missing := sorted(pending - answered):
        raise Refusal(
            f"{name}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )
    if unknown := sorted(answered - pending):
        raise Refusal(f"{name}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(unknown)}.")


def _read_blocks(content: Any, name: str, context: Context) -> list[dict[str, Any]]:
    blocks = reading.objects(content, name)
    for place, block in enumerate(blocks):
        _read_block(block, f"{name}.{place}", context)
        context.end_block(reading.cache_ttl(block, f"{name}.{place}"))
    return blocks


def _read_block(block: Mapping[str, Any], name: str, context: Context) -> None:
    match block.get("type"):
        case "text":
            if not isinstance(text := block.get("text"), str) or not text:
                raise Refusal(f"{name}: text content blocks must be non-empty")
            context.add(text)
        case "image":
            context.add_image(str(block.get("source")))
        case "document":
            context.add_document(str(block.get("source")))
        case "thinking":
            thought = str(block.get("thinking") or "")
            if seal.is_broken(str(block.get("signature") or ""), thought):
                raise Refusal(f"{name}: Invalid `signature` in `thinking` block")
            context.add(thought)
        case "tool_result" if isinstance(block.get("content"), list):
            for part in reading.objects(block["content"], f"{name}.content"):
                _read_block(part, f"{name}.content", context)
        case "tool_result":
            context.add(str(block.get("content") or ""))
        case str():
            context.add_bytes(reading.canonical(block))
        case _:
            raise Refusal(f"{name}.type: Field required")


def _result_text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text")) for part in content if isinstance(part, dict) and "text" in part)
    return str(content or "")


def _check_marks(context: Context) -> None:
    if len(context.marks) > MAX_CACHE_MARKS:
        raise Refusal(
            f"A maximum of {MAX_CACHE_MARKS} blocks with cache_control may be provided. Found {len(context.marks)}."
        )
    ttls = [mark.ttl for mark in context.marks]
    if ttls != sorted(ttls):  # "1h" sorts before "5m", which is the order that is asked for
        raise Refusal("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def _tool_choice(value: Any, *, has_tools: bool) -> ToolChoice:
    choice = reading.mapping(value)
    is_parallel = choice.get("disable_parallel_tool_use") is not True
    match choice.get("type"):
        case None | "auto":
            return ToolChoice(is_parallel=is_parallel)
        case "none":
            return ToolChoice("none")
        case "any" | "tool" if not has_tools:
            raise Refusal("tool_choice: may only be specified while providing tools")
        case "any":
            return ToolChoice("required", is_parallel=is_parallel)
        case "tool":
            return ToolChoice("required", _required_text(choice, "name"), is_parallel=is_parallel)
    raise Refusal("tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'")


def _schema(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = reading.mapping(fields.get("output_config"))
    wanted = reading.mapping(config.get("format") or fields.get("output_format"))
    return reading.mapping(wanted.get("schema")) if wanted.get("type") == "json_schema" else None


def _thinking(fields: Mapping[str, Any], max_tokens: int | None) -> Thinking | None:
    thinking = reading.mapping(fields.get("thinking"))
    is_shown = thinking.get("display") != "omitted"
    match thinking.get("type"):
        case None | "disabled":
            return None
        case "adaptive":
            effort = reading.mapping(fields.get("output_config")).get("effort") or "medium"
            return prompt.think(effort, is_shown=is_shown)
        case "enabled":
            budget = reading.integer(thinking, "budget_tokens", least=1_024)
            if budget is None:
                raise Refusal("thinking.enabled.budget_tokens: Field required")
            if max_tokens is not None and budget >= max_tokens:
                raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`")
            return Thinking(min(budget // THINKING_SENTENCE_TOKENS, prompt.EFFORTS["max"]), is_shown)
    raise Refusal("thinking.type: Input should be 'enabled', 'disabled' or 'adaptive'")
