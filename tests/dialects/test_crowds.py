"""A request of tens of thousands of tiny messages is refused before it is translated, and passes where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from apps.dialects.passage import passages
from apps.dialects.protocol import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, InvalidRequest
from apps.dialects.registry import DIALECTS
from tests.dialects.bodies import parse

TURN = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("endpoint", "spoken", "fields", "field"),
    [
        ("chat", ANTHROPIC_MESSAGES, {"messages": [TURN] * 10_001}, "messages"),
        ("messages", OPENAI_CHAT, {"messages": [TURN] * 10_001}, "messages"),
        ("responses", OPENAI_CHAT, {"input": [TURN] * 20_001}, "input"),
        (
            "messages",
            OPENAI_CHAT,
            {"tools": [{"name": f"tool_{n}", "input_schema": {}} for n in range(2_001)]},
            "tools",
        ),
    ],
)
def test_a_crowd_is_not_translated(endpoint: str, spoken: str, fields: dict[str, Any], field: str) -> None:
    request = parse(endpoint, **fields)
    dialect = next(dialect for dialect in DIALECTS.values() if dialect.endpoint == endpoint)
    with pytest.raises(InvalidRequest) as refused:
        list(passages(dialect, request, [spoken]))
    assert refused.value.param == field
    assert len(list(passages(dialect, request, [dialect.name]))) == 1
    fewer = parse(endpoint, **{field: fields[field][:-1]})
    assert len(list(passages(dialect, fewer, [spoken]))) == 1


def test_a_long_text_is_no_crowd() -> None:
    request = parse("responses", input="x" * 1_000_000)
    assert len(list(passages(DIALECTS[OPENAI_RESPONSES], request, [OPENAI_CHAT]))) == 1
