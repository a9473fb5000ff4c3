"""The page about translation says what the code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.core.errors import GatewayError
from apps.dialects.passage import passages
from apps.dialects.protocol import UnsupportedField
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS
from tests.dialects.bodies import parse
from tests.house.translation_tables import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "translation.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), "python -m tests.house.translation_tables > docs/translation.md"


MEANING: dict[str, dict[str, Any]] = {
    "chat": {"stop": ["END"], "n": 2, "logprobs": True},
    "messages": {"stop_sequences": ["END"]},
    "responses": {"top_logprobs": 2, "include": ["message.output_text.logprobs"]},
}
TUNING: dict[str, dict[str, Any]] = {
    "chat": {"seed": 7, "presence_penalty": 0.5, "frequency_penalty": 0.5, "verbosity": "low", "user": "u1",
             "metadata": {"team": "blue"}, "logit_bias": {"1": 1}},
    "messages": {"top_k": 5, "metadata": {"user_id": "u1"}},
    "responses": {"metadata": {"team": "blue"}, "user": "u1", "text": {"verbosity": "low"}},
}  # fmt: skip
ROWS = {
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.read_text().splitlines()
    if line.startswith(("| chat | ", "| responses | ", "| messages | ")) and line.count("|") == 5
}


def cells(caller: str, upstream: str) -> tuple[str, str]:
    short = upstream.removeprefix("openai-").removeprefix("anthropic-")
    ((refused, left_out),) = [row[2:] for row in ROWS if row[:2] == (caller, short)]
    return refused, left_out


PAIRS = [(caller, upstream) for caller in CALLERS for upstream in UPSTREAMS if caller != upstream]


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
def test_each_row_holds_for_a_request(caller: str, upstream: str) -> None:
    endpoint = DIALECTS[caller].endpoint
    refused, left_out = cells(endpoint, upstream)
    for name, value in MEANING[endpoint].items():
        request = parse(endpoint, **{name: value})
        try:
            (passage,) = passages(DIALECTS[caller], request, [upstream])
            passage.upstream_body(upstream_model="theirs", max_tokens=500, account_tag="acc")
        except GatewayError as error:
            assert isinstance(error, UnsupportedField)
            assert f"`{error.param}`" in refused, name
        else:
            assert f"`{name}`" not in refused, name
    for name, value in TUNING[endpoint].items():
        request = parse(endpoint, **{name: value})
        (passage,) = passages(DIALECTS[caller], request, [upstream])
        passage.upstream_body(upstream_model="theirs", max_tokens=500, account_tag="acc")
        named = {note.partition(":")[0] for note in passage.adapted if note.endswith("left out")}
        assert all(f"`{field}`" in left_out for field in named), (name, named)
        if f"`{name}`" in left_out:
            assert name in named
