"""What an answer is estimated at where its upstream counted nothing."""

from __future__ import annotations

import pytest

from apps.core import tokenizer
from apps.dialects import said as kept
from apps.dialects.said import Said
from apps.gateway.metering import _count_output

SENTENCE = "The twelve dogs of the old house ran down to the river. "


def test_an_answer_too_long_to_keep_is_counted_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_KEPT_CHARS", 100 * len(SENTENCE))
    said = Said()
    for _ in range(1_000):
        said.hear(0, SENTENCE)
    exact = tokenizer.count([SENTENCE * 1_000])
    assert said.chars == 100 * len(SENTENCE)
    assert abs(_count_output(said, tokenizer.DEFAULT) - exact) * 100 < exact


def test_encrypted_reasoning_is_four_bytes_a_token_and_rounded_up() -> None:
    said = Said()
    said.hear(0, "Hello")
    said.seal(401)
    assert _count_output(said, tokenizer.DEFAULT) == tokenizer.count(["Hello"]) + 101


def test_what_was_neither_kept_nor_heard_again_is_four_characters_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_KEPT_CHARS", 10)
    said = Said()
    said.hear(0, "a" * 50)
    said.forget(0)
    assert _count_output(said, tokenizer.DEFAULT) == 10
