"""Reasoning that others sealed travels through clients of this protocol, and never on to a provider of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.dialects.hub.reasoning import ANTHROPIC, SIGNATURE, Seal, wrap
from apps.dialects.passage import passages
from apps.dialects.protocol import OPENAI_RESPONSES
from apps.dialects.registry import DIALECTS
from tests.dialects.bodies import parse

USER = {"role": "user", "content": "Go on."}
OWN = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
WRAPPED = {**OWN, "id": "rs_hypereal_1_0", "encrypted_content": wrap(Seal(ANTHROPIC, SIGNATURE, "EqQB"))}
STRIPPED = {**WRAPPED, "id": None}
UNSEALED = {"type": "reasoning", "id": "rs_hypereal_1_0", "summary": [], "content": [{"text": "Hm."}]}


def sent(*items: Any) -> tuple[Any, tuple[str, ...]]:
    """What an upstream of the same protocol gets as `input`, and what X-Hypereal-Adapted says of it."""
    request = parse("responses", input=list(items))
    (passage,) = passages(DIALECTS[OPENAI_RESPONSES], request, [OPENAI_RESPONSES])
    body = passage.upstream_body(upstream_model="theirs", max_tokens=None, account_tag="acc")
    return json.loads(body)["input"], passage.adapted


@pytest.mark.parametrize("foreign", [WRAPPED, STRIPPED, UNSEALED])
def test_foreign_reasoning_is_left_out_whole_and_named(foreign: dict[str, Any]) -> None:
    items, adapted = sent(USER, foreign, OWN, USER)
    assert items == [USER, OWN, USER]
    assert adapted == ("input[1] reasoning: left out",)


@pytest.mark.parametrize(
    "item",
    [
        OWN,
        {"type": "reasoning", "id": "r1", "summary": [], "content": [{"text": "In the open."}]},
        {"role": "user", "content": 'I read "hypereal.anthropic.signature.EqQB" and rs_hypereal_ somewhere.'},
    ],
)
def test_everything_else_travels_as_it_is(item: dict[str, Any]) -> None:
    assert sent(USER, item) == ([USER, item], ())


def test_text_alone_travels_as_it_is() -> None:
    request = parse("responses", input='"hypereal.anthropic.signature.EqQB"')
    assert DIALECTS[OPENAI_RESPONSES].without_foreign(request) is request
