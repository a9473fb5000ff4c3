"""Any model through any text dialect: each of the catalog's models, asked with the official SDKs, streamed and not."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.clients.claude_code import Install, Sent
from tests.flows.agents import CLAUDE_CODE_HEADERS, CODEX_HEADERS, claude_code, codex
from tests.flows.bills import MODELS, bill_of_reply
from tests.flows.endpoints import MESSAGES, RESPONSES, TEXT_ENDPOINTS, Endpoint
from tests.flows.rig import Person, Reply

TALKS: Final = [name for name, model in MODELS.items() if model["max_output_tokens"] is not None]
OPEN: Final = [name for name in TALKS if not MODELS[name]["cli_only"]]
"""To any client."""


def may_call(endpoint: Endpoint, model: str) -> bool:
    return endpoint.is_anthropic or not MODELS[model]["cli_only"]


PAIRS: Final = [(endpoint, model) for endpoint in TEXT_ENDPOINTS for model in TALKS if may_call(endpoint, model)]
EACH_PAIR: Final = pytest.mark.parametrize(
    ("endpoint", "model"), PAIRS, ids=[f"{endpoint.name}-{model}" for endpoint, model in PAIRS]
)


def call(person: Person, endpoint: Endpoint, body: dict[str, Any]) -> Reply:
    """A plain call; to a CLI-only model as the CLI signs it."""
    if not MODELS[body["model"]]["cli_only"]:
        return person.call(endpoint.path, body)
    install = Install()
    return person.send(Sent(endpoint.path, "beta=true", install.headers(), install.dress(body)))


def text_of(reply: dict[str, Any]) -> str:
    if "choices" in reply:
        return str(reply["choices"][0]["message"]["content"])
    if "output" in reply:
        return "".join(
            part["text"] for item in reply["output"] if item["type"] == "message" for part in item["content"]
        )
    return "".join(block["text"] for block in reply["content"] if block["type"] == "text")


@EACH_PAIR
def test_a_plain_reply_comes_in_the_callers_dialect_with_its_exact_bill(
    alice: Person, endpoint: Endpoint, model: str
) -> None:
    reply = call(alice, endpoint, endpoint.body("Hello there", model=model))
    assert reply.status == 200, reply.body
    assert reply.json["model"] == model
    assert "Hello there" in text_of(reply.json)
    assert reply.billing["credits_charged"] == bill_of_reply(model, reply.json["usage"]) > 0


def said(events: list[Any]) -> str:
    """The text of a stream, out of its pieces."""
    pieces = []
    for event in events:
        if event == "[DONE]":
            continue
        if event.get("type") == "response.output_text.delta":
            pieces.append(event["delta"])
        elif event.get("type") == "content_block_delta":
            pieces.append(event["delta"].get("text", ""))
        pieces += [choice["delta"].get("content") or "" for choice in event.get("choices", ())]
    return "".join(pieces)


def usage_of(events: list[Any]) -> dict[str, Any]:
    """What a stream reports at its end."""
    last: dict[str, Any] = {}
    for event in events:
        if isinstance(event, dict):
            holder = event.get("response", event)
            last = holder.get("usage") or last
    return last


def bill_of_stream(events: list[Any]) -> Any:
    (block,) = [
        holder["hypereal"]
        for event in events
        if isinstance(event, dict)
        for holder in (event, event.get("response") or {})
        if "hypereal" in holder
    ]
    return block["billing"]


@EACH_PAIR
def test_a_stream_comes_in_the_callers_dialect_with_its_exact_bill(
    alice: Person, endpoint: Endpoint, model: str
) -> None:
    options = {"stream_options": {"include_usage": True}} if endpoint.name == "chat" else {}
    reply = call(alice, endpoint, endpoint.body("Hello there", model=model, stream=True, **options))
    assert reply.status == 200
    assert "Hello there" in said(reply.events)
    billing = bill_of_stream(reply.events)
    assert (billing["model"], billing["credits_charged"]) == (model, bill_of_reply(model, usage_of(reply.events)))
    record = alice.newest_record()
    assert (record["model"], record["endpoint"], record["status"]) == (model, endpoint.name, "succeeded")


SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASK: Final = 'Use get_weather {"city": "Pune"}'


@pytest.mark.parametrize("model", OPEN)
def test_the_openai_sdk_calls_a_tool_and_hands_its_result_back(alice: Person, model: str) -> None:
    function = {"name": "get_weather", "description": "Weather of a city.", "parameters": SCHEMA}
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK}]
    with alice.openai() as client:
        for is_stream in (False, True):
            talk = client.chat.completions
            options: dict[str, Any] = {"model": model, "tools": [{"type": "function", "function": function}]}
            if is_stream:
                with talk.stream(messages=messages, **options) as stream:
                    message = stream.get_final_completion().choices[0].message
            else:
                message = talk.create(messages=messages, **options).choices[0].message
            called: list[Any] = list(message.tool_calls or ())
            assert len(called) == 1
            call = called[0]
            assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Pune"})
            result = {"role": "tool", "tool_call_id": call.id, "content": "31 degrees"}
            told = [*messages, message.model_dump(exclude_none=True), result]
            answered = talk.create(messages=told, **options).choices[0]
            assert "31 degrees" in str(answered.message.content)
            assert answered.finish_reason == "stop"


@pytest.mark.parametrize("model", OPEN)
def test_the_openai_sdk_calls_a_tool_through_responses(alice: Person, model: str) -> None:
    tools: Any = [
        {"type": "function", "name": "get_weather", "description": None, "parameters": SCHEMA, "strict": None}
    ]
    with alice.openai() as client:
        for is_stream in (False, True):
            options: dict[str, Any] = {"model": model, "tools": tools, "instructions": "Be brief."}
            if is_stream:
                with client.responses.stream(input=ASK, **options) as stream:
                    first = stream.get_final_response()
            else:
                first = client.responses.create(input=ASK, **options)
            calls = [item for item in first.output if item.type == "function_call"]
            assert [(call.name, json.loads(call.arguments)) for call in calls] == [("get_weather", {"city": "Pune"})]
            told: Any = [
                {"role": "user", "content": ASK},
                *(item.model_dump(exclude_none=True) for item in first.output),
                {"type": "function_call_output", "call_id": calls[0].call_id, "output": "31 degrees"},
            ]
            second = client.responses.create(input=told, **options)
            assert "31 degrees" in second.output_text
            assert second.status == "completed"


@pytest.mark.parametrize("model", OPEN)
def test_the_anthropic_sdk_calls_a_tool_and_hands_its_result_back(alice: Person, model: str) -> None:
    tools: Any = [{"name": "get_weather", "description": "Weather of a city.", "input_schema": SCHEMA}]
    with alice.anthropic() as client:
        for is_stream in (False, True):
            options: dict[str, Any] = {"model": model, "max_tokens": 2_000, "tools": tools, "system": "Be brief."}
            ask: Any = [{"role": "user", "content": ASK}]
            if is_stream:
                with client.messages.stream(messages=ask, **options) as stream:
                    first = stream.get_final_message()
            else:
                first = client.messages.create(messages=ask, **options)
            calls = [block for block in first.content if block.type == "tool_use"]
            assert [(call.name, call.input) for call in calls] == [("get_weather", {"city": "Pune"})]
            assert first.stop_reason == "tool_use"
            result = {"type": "tool_result", "tool_use_id": calls[0].id, "content": "31 degrees"}
            told: Any = [*ask, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
            second = client.messages.create(messages=told, **options)
            assert "31 degrees" in "".join(block.text for block in second.content if block.type == "text")
            assert second.stop_reason == "end_turn"


@pytest.mark.parametrize("model", ["gpt-5-5", "deepseek-v4-pro", "claude-haiku-latest", "nano-banana-2"])
def test_a_responses_body_on_the_chat_path_is_answered_in_chat(alice: Person, model: str) -> None:
    """What an editor posts for models whose names look like OpenAI's."""
    body = {
        "model": model,
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hello there"}]},
        ],
        "tools": [{"type": "function", "name": "get_weather", "parameters": SCHEMA}],
        "store": False,
    }
    for path in ("/v1/chat/completions", "/v1/managed/chat/completions"):
        reply = alice.call(path, body)
        assert (reply.status, reply.json["object"]) == (200, "chat.completion")
        assert "Hello there" in text_of(reply.json)
        streamed = alice.call(path, {**body, "stream": True, "stream_options": {"include_usage": True}})
        assert streamed.events[-1] == "[DONE]"
        assert "Hello there" in said(streamed.events)
        assert bill_of_stream(streamed.events)["credits_charged"] == bill_of_reply(model, usage_of(streamed.events))
    assert {record["endpoint"] for record in alice.records()} == {"chat"}


@pytest.mark.parametrize("model", ["gpt-5-5", "deepseek-v4-pro", "kimi-latest", "nano-banana-2", "claude-opus-4-8"])
def test_a_coding_agent_of_messages_works_with_any_model(alice: Person, model: str) -> None:
    for ask, is_stream in (('Use Bash {"command": "pwd"}', True), ("Hello there", False)):
        reply = alice.call(MESSAGES.path, claude_code(model, ask, is_stream=is_stream), **CLAUDE_CODE_HEADERS)
        assert reply.status == 200, reply.body
        if is_stream:
            inputs = [e["delta"]["partial_json"] for e in reply.events if "partial_json" in e.get("delta", {})]
            assert json.loads("".join(inputs)) == {"command": "pwd"}
            assert next(e["delta"]["stop_reason"] for e in reply.events if e["type"] == "message_delta") == "tool_use"
        else:
            assert "Hello there" in text_of(reply.json)


@pytest.mark.parametrize("model", ["gpt-5-5", "deepseek-v4-pro", "kimi-latest", "nano-banana-2", "claude-opus-4-8"])
def test_a_coding_agent_of_responses_works_with_any_model(alice: Person, model: str) -> None:
    asked = {"exec_command": '{"cmd": "pwd"}', "spawn": '{"task": "count"}'}
    if model == "gpt-5-5":
        del asked["spawn"]  # untouched on its way, and the simulator looks into no group
    for tool, arguments in asked.items():
        reply = alice.call(RESPONSES.path, codex(model, f"Use {tool} {arguments}"), **CODEX_HEADERS)
        assert reply.status == 200, reply.body
        assert "web_search" in reply.headers["x-hypereal-adapted"]
        done = reply.events[-1]["response"]
        assert (reply.events[-1]["type"], done["status"]) == ("response.completed", "completed")
        calls = [item for item in done["output"] if item["type"] == "function_call"]
        assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [(tool, json.loads(arguments))]
        assert [event["sequence_number"] for event in reply.events] == list(range(len(reply.events)))
