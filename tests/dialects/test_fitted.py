"""Clients send every model `max_tokens` and a temperature; OpenAI's reasoning models refuse whole requests for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from apps.dialects.passage import PassThrough
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import MINIMAL, parse

REASONER = "gpt-5.5-2026-08-07"
OURS = "house-model"


def sent(
    endpoint: str, upstream_model: str, *, granted: Any = None, model: str = OURS, **fields: Any
) -> tuple[dict[str, Any], list[str]]:
    """The fields beside the minimal ones that go upstream, and what the caller is told of them."""
    passage = PassThrough(BY_ENDPOINT[endpoint], parse(endpoint, model=model, **fields))
    written = [
        passage.upstream_body(upstream_model=upstream_model, max_tokens=granted, account_tag="acc") for _ in range(2)
    ]
    assert written[0] == written[1], "a retry sends what the first attempt sent"
    body = json.loads(written[0])
    return {name: body[name] for name in body if name not in {*MINIMAL[endpoint], "store"}}, list(passage.adapted)


def test_the_maximum_gets_the_name_that_the_model_wants() -> None:
    told = ["max_tokens: sent as max_completion_tokens"]
    assert sent("chat", REASONER, max_tokens=50) == ({"max_completion_tokens": 50}, told)
    assert sent("chat", REASONER, max_tokens=50, granted=30) == ({"max_completion_tokens": 30}, told)
    assert sent("chat", REASONER, max_tokens=50, max_completion_tokens=20) == ({"max_completion_tokens": 20}, told)
    assert sent("chat", REASONER, max_completion_tokens=20) == ({"max_completion_tokens": 20}, [])
    assert sent("chat", REASONER, max_tokens=None, granted=9) == ({"max_tokens": None, "max_completion_tokens": 9}, [])
    assert sent("chat", REASONER, granted=9) == ({"max_completion_tokens": 9}, [])
    assert sent("chat", REASONER) == ({}, [])


@pytest.mark.parametrize("model", ["deepseek-v4", "qwen3.7-plus", "gpt-4.1", "kimi-k3"])
def test_other_models_get_what_the_caller_wrote(model: str) -> None:
    fields: dict[str, Any] = {"max_tokens": 50, "temperature": 0.2, "top_p": 0.5}
    assert sent("chat", model, **fields) == (fields, [])


def test_a_deployment_may_be_called_anything() -> None:
    assert sent("chat", "prod-eu-2", model="gpt-5-5", temperature=0) == ({}, ["temperature: left out"])


def test_the_catalog_can_want_the_new_name_too() -> None:
    request = replace(parse("chat", model=OURS, max_tokens=50), maximum_name="max_completion_tokens")
    passage = PassThrough(BY_ENDPOINT["chat"], request)
    body = json.loads(passage.upstream_body(upstream_model="house-model", max_tokens=None, account_tag="acc"))
    assert (body["max_completion_tokens"], "max_tokens" in body) == (50, False)


def test_what_asks_for_other_sampling_is_left_out_and_told() -> None:
    odd: dict[str, Any] = {
        "temperature": 0.2,
        "top_p": 0.5,
        "presence_penalty": 0.1,
        "frequency_penalty": -1,
        "logit_bias": {"1": 2},
    }
    assert sent("chat", REASONER, **odd) == ({}, [f"{name}: left out" for name in odd])
    responses: dict[str, Any] = {"temperature": 0, "top_p": 0.9}
    assert sent("responses", REASONER, **responses) == ({}, ["temperature: left out", "top_p: left out"])


def test_what_says_nothing_stays() -> None:
    plain: dict[str, Any] = {"temperature": 1.0, "top_p": None, "presence_penalty": 0}
    assert sent("chat", REASONER, **plain) == (plain, [])
    # What is no number is the upstream's to refuse.
    # What is no number at all is the upstream's to refuse.
    assert sent("chat", REASONER, temperature="hot") == ({"temperature": "hot"}, [])
    assert sent("responses", "gpt-4.1", temperature=0.3) == ({"temperature": 0.3}, [])
