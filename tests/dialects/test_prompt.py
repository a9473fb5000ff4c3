"""What a tokenizer is given of a request: all of its text, and nothing of what has a bound of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core import tokenizer
from apps.dialects.common.prompt import prompt_texts, written_text
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import body, parse, relaxed

PNG = "data:image/png;base64," + "iVBORw0KGgo" * 50
PDF = "JVBERi0xLjQK" * 50
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}

PAYLOADS: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]}),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PNG}]}]}),
    (
        "chat",
        {"messages": [{"role": "user", "content": [
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}]}]},
    ),
    ("responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PNG}]}]}),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": PDF}}]}]}),
    ("responses", {"input": [{"type": "image_generation_call", "id": "ig_1", "result": PDF}]}),
    (
        "messages",
        {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PDF}}]}]},
    ),
    (
        "messages",
        {"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}]}]}]},
    ),
]  # fmt: skip

TEXTS: list[tuple[str, dict[str, Any]]] = [
    ("chat", {"messages": [{"role": "user", "content": PNG}]}),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": PNG}]}], "tools": [TOOL]}),
    (
        "messages",
        {"messages": [{"role": "assistant", "content": [
            {"type": "tool_use", "id": "t", "name": "draw", "input": {"type": "input_image", "image_url": PNG}}]}]},
    ),
    (
        "messages",
        {"messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": PNG}}]}]},
    ),
    ("responses", {"input": [{"type": "function_call_output", "call_id": "c", "output": PNG}]}),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "fields"), PAYLOADS)
def test_payloads_have_bounds_of_their_own(endpoint: str, fields: dict[str, Any]) -> None:
    request = parse(endpoint, **fields)
    text = written_text(request.fields)
    assert "iVBORw0" not in text
    assert "JVBERi0" not in text
    # No less than what the bytes leave over, but for the blanks that JSON does not need.
    assert request.demand.text_bytes - 120 < len(text) <= request.demand.text_bytes
    assert len(prompt_texts(request.fields)[0]) < 120


@pytest.mark.parametrize(("endpoint", "fields"), TEXTS)
def test_what_only_looks_like_a_payload_is_text(endpoint: str, fields: dict[str, Any]) -> None:
    request = parse(endpoint, **fields)
    assert PNG in written_text(request.fields)
    assert PNG in prompt_texts(request.fields)[0]


SPOKEN = st.text(max_size=200) | st.text('ab \n\t\\"{}[]:,é中😀', max_size=200)


@relaxed
@given(texts=st.lists(SPOKEN, min_size=1, max_size=6), is_ascii=st.booleans(), indent=st.none() | st.integers(0, 4))
def test_no_prompt_has_more_tokens_than_the_bound_that_is_counted(
    texts: list[str], is_ascii: bool, indent: int | None
) -> None:
    """However its JSON is written, what a model reads of a request is never more than what we count of it."""
    said = {"model": "gpt-5-5", "messages": [{"role": "user", "content": text} for text in texts]}
    request = BY_ENDPOINT["chat"].parse(json.dumps(said, ensure_ascii=is_ascii, indent=indent).encode())
    bound = tokenizer.count([written_text(request.fields)])
    assert tokenizer.count(prompt_texts(request.fields)) <= bound
    assert tokenizer.count(texts) + 3 * len(texts) <= bound


def test_letters_need_no_escapes() -> None:
    request = parse("chat", messages=[{"role": "user", "content": "中文 é"}])
    assert "中文 é" in written_text(request.fields)
    assert prompt_texts(request.fields) == ["user\n中文 é"]


@pytest.mark.parametrize("depth", [10, 300, 480, 600, 900])
def test_what_is_too_deep_to_walk_through_is_taken_as_it_is(depth: int) -> None:
    deep = "[" * depth + '"down here"' + "]" * depth
    raw = body("chat", metadata=None)[:-1] + f', "response_format": {deep}, "metadata": {deep}}}'.encode()
    request = BY_ENDPOINT["chat"].parse(raw)
    assert "down here" in written_text(request.fields)
    assert "down here" in prompt_texts(request.fields)[0]


def test_numbers_that_nobody_can_write_again_stay_as_they_are() -> None:
    raw = body("chat")[:-1] + b', "metadata": {"a": 1000000000000000000000000000000, "b": -1e400, "c": 1e999}}'
    text = written_text(BY_ENDPOINT["chat"].parse(raw).fields)
    assert "1000000000000000000000000000000" in text
