"""Reading an OpenAI Responses request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from apps.upstreams.simulator import prompt, reading, seal
from apps.upstreams.simulator.prompt import Context, Listener, Prompt, Refusal, Tool
from apps.upstreams.simulator.wires import openai_shared

ROLES: Final = ("user", "assistant", "system", "developer")


def read_request(fields: dict[str, Any]) -> Prompt:
    """Read the body of /v1/responses.

    Raises: Refusal.
    """
    model = reading.text(fields, "model")
    tools = reading.objects(fields.get("tools"), "tools")
    reading.check_range(fields, "temperature", most=2)
    context, listener = Context(), Listener()
    openai_shared.add_tools(context, tools)
    if isinstance(instructions := fields.get("instructions"), str):
        context.add(instructions)
        context.end_block()
    _read_input(fields.get("input"), context, listener)
    talk, directives = listener.heard()
    tool_choice = fields.get("tool_choice")
    return Prompt(
        model=model,
        fields=fields,
        context=context,
        talk=talk,
        directives=directives,
        is_stream=reading.flag(fields, "stream"),
        tools=tuple(
            Tool(reading.text(tool, "name"), reading.mapping(tool.get("parameters")))
            for tool in tools
            if tool.get("type") == "function"
        ),
        tool_choice=openai_shared.choice(
            tool_choice,
            name=reading.mapping(tool_choice).get("name"),
            is_parallel=fields.get("parallel_tool_calls") is not False,
            has_tools=bool(tools),
        ),
        max_tokens=reading.integer(fields, "max_output_tokens", least=1),
        schema=_schema(reading.mapping(reading.mapping(fields.get("text")).get("format"))),
        thinking=prompt.think(reading.mapping(fields.get("reasoning")).get("effort", _default_effort(fields))),
        cache_scope=str(fields.get("prompt_cache_key") or ""),
    )


def _default_effort(fields: Mapping[str, Any]) -> str | None:
    """A request that says how to sum thoughts up wants some, whatever effort it leaves unsaid."""
    return "medium" if reading.mapping(fields.get("reasoning")) else None


def _read_input(value: Any, context: Context, listener: Listener) -> None:
    if isinstance(value, str) and value:
        context.add(value)
        context.end_block()
        listener.user_says([value])
        return
    for place, item in enumerate(reading.objects(value, "input", is_required=True)):
        _read_item(item, f"input[{place}]", context, listener)
        context.end_block()


def _read_item(item: Mapping[str, Any], name: str, context: Context, listener: Listener) -> None:
    match item.get("type", "message"):
        case "message":
            _read_message(item, name, context, listener)
        case "function_call":
            context.add_bytes(reading.canonical([item.get("name"), item.get("arguments")]))
            listener.assistant_answers([str(item.get("name"))])
        case "function_call_output":
            if not isinstance(item.get("call_id"), str):
                raise Refusal(f"Missing required parameter: '{name}.call_id'.", param=f"{name}.call_id")
            context.add("\ntool: ")
            listener.tool_returns(" ".join(_read_content(item.get("output"), name, context)))
        case "reasoning":
            sealed = str(item.get("encrypted_content") or "")
            if seal.is_broken(sealed):
                raise Refusal(
                    "The encrypted content could not be verified.", param=name, code="invalid_encrypted_content"
                )
            context.add(sealed)
        case str():
            context.add_bytes(reading.canonical(item))
        case _:
            raise Refusal(f"Invalid type for '{name}.type'.", param=f"{name}.type", code="invalid_type")


def _read_message(item: Mapping[str, Any], name: str, context: Context, listener: Listener) -> None:
    role = item.get("role")
    if role not in ROLES:
        raise Refusal(
            f"Invalid value: '{role}'. Supported values are: {', '.join(map(repr, ROLES))}.",
            param=f"{name}.role",
            code="invalid_value",
        )
    context.add(f"\n{role}: ")
    texts = _read_content(item.get("content"), name, context)
    if role == "user":
        listener.user_says(texts)
    elif role == "assistant":
        listener.assistant_answers([])


def _read_content(content: Any, name: str, context: Context) -> list[str]:
    """Take a text or its parts in; returns the texts."""
    if isinstance(content, str):
        context.add(content)
        return [content]
    texts: list[str] = []
    for part in reading.objects(content, f"{name}.content"):
        match part.get("type"):
            case "input_text" | "output_text" | "refusal":
                texts.append(str(part.get("text") or part.get("refusal") or ""))
                context.add(texts[-1])
            case "input_image":
                context.add_image(str(part.get("image_url") or part.get("file_id")))
            case "input_file" | "input_audio":
                context.add_document(str(part))
            case kind:
                raise Refusal(f"Invalid value: '{kind}'.", param=f"{name}.content", code="invalid_value")
    return texts


def _schema(wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if wanted.get("type") == "json_schema":
        return reading.mapping(wanted.get("schema"))
    return {} if wanted.get("type") == "json_object" else None
