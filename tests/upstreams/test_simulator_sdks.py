"""The official SDKs read the simulator as they read their provider, over a real socket."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any, cast

import anthropic
import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionChunk

from apps.upstreams.simulator import Simulator
from apps.upstreams.simulator.server import application
from tests.upstreams.asking import keep
from tests.upstreams.serving import serving

WEATHER_SCHEMA: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Trip(pydantic.BaseModel):
    city: str
    days: int
    is_return: bool


@pytest.fixture
async def root() -> AsyncIterator[str]:
    async with serving(application(Simulator(ttfb_ms=0, chunk_ms=0))) as url:
        yield url


@pytest.fixture
async def claude(root: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=root, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def gpt(root: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_messages_says_what_it_is(claude: anthropic.AsyncAnthropic) -> None:
    message = await claude.messages.create(
        model="claude-opus-4-8", max_tokens=100, messages=[{"role": "user", "content": "Good morning"}]
    )
    assert message.model == "claude-opus-4-8"
    [block] = message.content
    assert block.type == "text"
    assert block.text == 'This is the Hypereal simulator, standing in for claude-opus-4-8. You wrote: "Good morning".'
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 23)


async def test_messages_stream_helper_adds_up(claude: anthropic.AsyncAnthropic) -> None:
    async with claude.messages.stream(
        model="claude-opus-4-8",
        max_tokens=4_000,
        thinking={"type": "enabled", "budget_tokens": 1_024},
        messages=[{"role": "user", "content": "Use the tool get_weather for Paris."}],
        tools=[{"name": "get_weather", "input_schema": WEATHER_SCHEMA}],
    ) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    thought, call = message.content
    assert thought.type == "thinking"
    assert thought.thinking.startswith('They wrote "Use the tool get_weather for Paris."')
    assert thought.signature
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens > 10


async def test_messages_tool_loop_ends_in_text(claude: anthropic.AsyncAnthropic) -> None:
    asked: anthropic.types.MessageParam = {"role": "user", "content": "Call get_weather for London and Paris, both."}
    tools: list[anthropic.types.ToolParam] = [{"name": "get_weather", "input_schema": WEATHER_SCHEMA}]
    first = await claude.messages.create(model="claude", max_tokens=500, messages=[asked], tools=tools)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"city": "London"}, {"city": "Paris"}]
    second = await claude.messages.create(
        model="claude",
        max_tokens=500,
        tools=tools,
        messages=[
            asked,
            {"role": "assistant", "content": first.content},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": call.id, "content": f"{place} degrees"}
                    for place, call in enumerate(calls)
                ],
            },
        ],
    )
    [block] = second.content
    assert block.type == "text"
    assert 'The tool answered: "0 degrees". The tool answered: "1 degrees".' in block.text


async def test_messages_structured_output(claude: anthropic.AsyncAnthropic) -> None:
    message = await claude.messages.parse(
        model="claude",
        max_tokens=500,
        messages=[{"role": "user", "content": "A trip to Lisbon for 9 days"}],
        output_format=Trip,
    )
    assert message.parsed_output == Trip(city="Lisbon", days=9, is_return=True)


async def test_messages_error_in_stream(claude: anthropic.AsyncAnthropic) -> None:
    heard: list[str] = []
    async with claude.messages.stream(
        model="claude", max_tokens=500, messages=[{"role": "user", "content": "[[simulate error-after=3]] hello"}]
    ) as stream:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await keep(stream.text_stream, heard)
    assert heard == ["This is the ", "Hypereal sim", "ulator, stan"]
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "overloaded_error"


async def test_messages_overload_and_count_tokens(claude: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        await claude.messages.create(
            model="claude",
            max_tokens=5,
            messages=[{"role": "user", "content": "[[simulate status=529 retry-after=2]]"}],
        )
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (529, "2")
    counted = await claude.messages.count_tokens(model="claude", messages=[{"role": "user", "content": "12345678"}])
    assert counted.input_tokens == 4
    assert [model.id async for model in claude.models.list()] == ["hypereal-simulator"]


async def test_chat_plain_and_streamed_say_the_same(gpt: openai.AsyncOpenAI) -> None:
    plain = await gpt.chat.completions.create(model="qwen3-7-plus", messages=[{"role": "user", "content": "Grüße 🌍"}])
    assert plain.usage is not None
    assert plain.system_fingerprint == "fp_hypereal_simulator"
    streamed = await gpt.chat.completions.create(
        model="qwen3-7-plus",
        messages=[{"role": "user", "content": "Grüße 🌍"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in streamed]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert text.endswith('You wrote: "Grüße 🌍".')
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage) == ([], plain.usage)


async def test_chat_stream_helper_with_tools_and_choices(gpt: openai.AsyncOpenAI) -> None:
    async with gpt.chat.completions.stream(
        model="gpt-5-5",
        n=2,
        messages=[{"role": "user", "content": "Use the tool get_weather for Oslo."}],
        tools=[
            {
                "type": "function",
                "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA},
            }
        ],
    ) as stream:
        async for _event in stream:
            pass
        completion = await stream.get_final_completion()
    assert [choice.finish_reason for choice in completion.choices] == ["tool_calls", "tool_calls"]
    for choice in completion.choices:
        [call] = choice.message.tool_calls or []
        assert call.function.arguments == '{"city":"Oslo"}'


async def test_chat_structured_output(gpt: openai.AsyncOpenAI) -> None:
    completion = await gpt.chat.completions.parse(
        model="gpt-5-5",
        messages=[{"role": "user", "content": "Plan a week in Rome, 7 days"}],
        response_format=Trip,
    )
    assert completion.choices[0].message.parsed == Trip(city="Rome", days=7, is_return=True)


async def test_chat_cut_connection(gpt: openai.AsyncOpenAI) -> None:
    streamed = await gpt.chat.completions.create(
        model="gpt-5-5", messages=[{"role": "user", "content": "[[simulate cut=3]] a long story"}], stream=True
    )
    heard: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIConnectionError):
        await keep(streamed, heard)
    texts = [chunk.choices[0].delta.content for chunk in heard]
    assert texts == ["", "This is the ", "Hypereal sim", "ulator, stan"]


async def test_responses_plain(gpt: openai.AsyncOpenAI) -> None:
    response = await gpt.responses.create(model="gpt-5-5", input="Hello")
    assert response.output_text == 'This is the Hypereal simulator, standing in for gpt-5-5. You wrote: "Hello".'
    assert response.status == "completed"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (2, 19, 21)


async def test_responses_stream_helper_with_reasoning_and_tools(gpt: openai.AsyncOpenAI) -> None:
    async with gpt.responses.stream(
        model="gpt-5-5",
        input="Use the tool get_weather for Cairo.",
        store=False,
        include=["reasoning.encrypted_content"],
        reasoning={"effort": "low", "summary": "auto"},
        tools=[{"type": "function", "name": "get_weather", "parameters": WEATHER_SCHEMA, "strict": True}],
    ) as stream:
        events = [event async for event in stream]
        response = await stream.get_final_response()
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(numbers)
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    thought, call = response.output
    assert thought.type == "reasoning"
    assert thought.encrypted_content
    assert thought.summary[0].text.startswith('They wrote "Use the tool')
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("get_weather", '{"city":"Cairo"}')
    again = await gpt.responses.create(
        model="gpt-5-5",
        store=False,
        input=[
            {"role": "user", "content": "Use the tool get_weather for Cairo."},
            *[cast(Any, item.model_dump(exclude_none=True, exclude={"parsed_arguments"})) for item in response.output],
            {"type": "function_call_output", "call_id": call.call_id, "output": "32 degrees"},
        ],
    )
    assert 'The tool answered: "32 degrees".' in again.output_text


async def test_responses_structured_output_and_incomplete(gpt: openai.AsyncOpenAI) -> None:
    parsed = await gpt.responses.parse(model="gpt-5-5", input="A trip to Kyoto, 12 days", text_format=Trip)
    assert parsed.output_parsed == Trip(city="Kyoto", days=12, is_return=True)
    cut = await gpt.responses.create(model="gpt-5-5", input="Hello", max_output_tokens=4)
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert cut.output_text == "This is the Hype"


async def test_images_plain_and_streamed(gpt: openai.AsyncOpenAI) -> None:
    drawn = await gpt.images.generate(model="gpt-image-2", prompt="A red fox", size="1024x1024", quality="low", n=2)
    assert drawn.data is not None
    assert [base64.b64decode(image.b64_json or "")[:8] for image in drawn.data] == [b"\x89PNG\r\n\x1a\n"] * 2
    assert drawn.usage is not None
    assert (drawn.usage.input_tokens, drawn.usage.output_tokens) == (3, 544)
    stream = await gpt.images.generate(
        model="gpt-image-2", prompt="A red fox", quality="high", stream=True, partial_images=2
    )
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    last = events[-1]
    assert last.type == "image_generation.completed"
    assert (last.usage.output_tokens, last.size, last.quality) == (4_160, "1024x1024", "high")
    assert last.b64_json == drawn.data[0].b64_json


async def test_images_refuses_what_the_provider_refuses(gpt: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as quality:
        await gpt.images.generate(model="gpt-image-2", prompt="A fox", quality="standard")
    assert (quality.value.param, quality.value.code) == ("quality", "invalid_value")
    with pytest.raises(openai.BadRequestError) as response_format:
        await gpt.images.generate(model="gpt-image-2", prompt="A fox", response_format="b64_json")
    assert (response_format.value.param, response_format.value.code) == ("response_format", "unknown_parameter")


async def test_models_and_the_marks_of_a_simulator(gpt: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in gpt.models.list()] == ["hypereal-simulator"]
    raw = await gpt.chat.completions.with_raw_response.create(
        model="kimi-latest", messages=[{"role": "user", "content": "Hi"}]
    )
    assert raw.headers["x-simulator"] == "hypereal"
    with pytest.raises(openai.NotFoundError):
        await gpt.embeddings.create(model="none", input="Hi")
