"""How an upstream of the Responses API is asked to answer: tuning, thinking, limits, and what cannot be said."""

from __future__ import annotations

import pytest
from msgspec import Raw

from apps.dialects.hub.conversation import Conversation, OutputFormat, Reasoning, Text, Tuning
from apps.dialects.protocol import UnsupportedField
from tests.dialects.openai_responses.test_body import body, user


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Conversation([], stop=("END",), names={"stop": "stop_sequences"}), "stop_sequences"),
        (Conversation([], n=2), "n"),
        (Conversation([], makes_images=True, names={"makes_images": "modalities"}), "modalities"),
    ],
)
def test_meaning_that_cannot_be_said_is_refused_by_the_callers_name(asked: Conversation, field: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        body(asked)
    assert refused.value.param == field


def test_tuning_is_said_or_left_out_and_named() -> None:
    asked = Conversation(
        [user(Text("Hi"))],
        tuning=Tuning(
            temperature=2.5, top_p=0.9, top_k=5, seed=1, verbosity="low", user="u1", metadata=Raw(b'{"a":"b"}')
        ),
        unread=("min_p",),
    )
    sent = body(asked, model="gpt-4o")
    assert (sent["temperature"], sent["top_p"], sent["text"]) == (2, 0.9, {"verbosity": "low"})
    assert (sent["safety_identifier"], sent["metadata"]) == ("u1", {"a": "b"})
    assert asked.adapted == ["top_k: left out", "seed: left out", "min_p: left out", "temperature: 2.5 -> 2"]


def test_reasoning_models_sample_as_they_do() -> None:
    asked = Conversation([user(Text("Hi"))], tuning=Tuning(temperature=0.2, top_p=1))
    sent = body(asked)
    assert not {"temperature", "top_p"} & sent.keys()
    assert asked.adapted == ["temperature: left out"]


def test_a_users_id_that_is_too_long_is_replaced_by_its_digest() -> None:
    asked = Conversation([user(Text("Hi"))], tuning=Tuning(user="x" * 65), names={"user": "metadata.user_id"})
    assert len(body(asked)["safety_identifier"]) == 64
    assert asked.adapted == ["metadata.user_id: replaced by its digest"]


@pytest.mark.parametrize(
    ("reasoning", "model", "sent", "adapted"),
    [
        (Reasoning(), "gpt-5.5", None, []),
        (Reasoning(effort="low", summary="auto"), "gpt-5.5", {"effort": "low", "summary": "auto"}, []),
        (Reasoning(is_on=True), "gpt-5.5", {"summary": "auto"}, []),
        (Reasoning(is_on=True, summary="omitted"), "gpt-5.5", None, []),
        (
            Reasoning(is_on=True, budget_tokens=8_000),
            "gpt-5.5",
            {"effort": "medium", "summary": "auto"},
            ["reasoning: 8000 tokens -> medium"],
        ),
        (Reasoning(is_on=False), "gpt-5.5", {"effort": "none"}, []),
        (Reasoning(effort="max"), "gpt-5.5", {"effort": "xhigh"}, ["effort: max -> xhigh"]),
        (Reasoning(effort="max"), "gpt-5.6", {"effort": "max"}, []),
        (Reasoning(effort="none"), "gpt-5-mini-2026-01-01", {"effort": "minimal"}, ["effort: none -> minimal"]),
        (Reasoning(effort="minimal"), "gpt-5.5", {"effort": "low"}, ["effort: minimal -> low"]),
        (Reasoning(effort="none"), "gpt-5.5", {"effort": "none"}, []),
        (Reasoning(effort="xhigh"), "o4-mini", {"effort": "high"}, ["effort: xhigh -> high"]),
        (Reasoning(effort="high"), "gpt-4o", None, ["effort: left out"]),
        (Reasoning(is_on=False), "gpt-4o", None, []),
        (Reasoning(effort="max"), "grok-4.3", {"effort": "max"}, []),
    ],
)
def test_how_much_to_think(reasoning: Reasoning, model: str, sent: dict[str, str] | None, adapted: list[str]) -> None:
    asked = Conversation([user(Text("Hi"))], reasoning=reasoning)
    assert body(asked, model=model).get("reasoning") == sent
    assert asked.adapted == adapted


def test_structured_output() -> None:
    schema = Raw(b'{"type":"object"}')
    asked = Conversation([user(Text("Hi"))], output_format=OutputFormat("schema", schema, is_strict=True))
    assert body(asked)["text"]["format"] == {
        "type": "json_schema",
        "name": "answer",
        "schema": {"type": "object"},
        "strict": True,
    }
    asked = Conversation([user(Text("Hi"))], output_format=OutputFormat("json"))
    assert body(asked)["text"]["format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("own", "granted", "sent", "adapted"),
    [
        (None, None, None, []),
        (300, None, 300, []),
        (300, 200, 200, []),
        (None, 200, 200, []),
        (1, 200, 16, ["max_tokens: 1 -> 16"]),
    ],
)
def test_the_maximum(own: int | None, granted: int | None, sent: int | None, adapted: list[str]) -> None:
    asked = Conversation([user(Text("Hi"))], max_tokens=own)
    assert body(asked, max_tokens=granted).get("max_output_tokens") == sent
    assert asked.adapted == adapted


def test_streams_cache_keys_and_log_probabilities() -> None:
    sent = body(Conversation([user(Text("Hi"))], is_stream=True, cache_key="k", logprobs=2), model="gpt-4o")
    assert (sent["stream"], sent["prompt_cache_key"], sent["top_logprobs"]) == (True, "acc:k", 2)
    assert sent["include"] == ["message.output_text.logprobs"]


@pytest.mark.parametrize(
    ("model", "includes"),
    [
        ("gpt-5.5", True),
        ("o3", True),
        ("grok-4.3", True),
        ("my-gpt-5-mini-prod", True),
        ("gpt-4o", False),
        ("m", False),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_have_it(model: str, includes: bool) -> None:
    assert ("include" in body(Conversation([user(Text("Hi"))]), model=model)) is includes
    asked = Conversation([user(Text("Hi"))], wants_encrypted_reasoning=True)
    assert body(asked, model=model)["include"] == ["reasoning.encrypted_content"]
