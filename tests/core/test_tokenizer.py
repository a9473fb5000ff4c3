from __future__ import annotations

import pytest

from apps.core import tokenizer


@pytest.mark.parametrize("name", tokenizer.NAMES)
def test_every_vocabulary_is_on_board(name: str) -> None:
    assert tokenizer.count(["The quick brown fox jumps over the lazy dog."], name) == 10


def test_each_text_is_counted_by_itself() -> None:
    assert tokenizer.count(["hel", "lo"]) == tokenizer.count(["hel"]) + tokenizer.count(["lo"])
    assert tokenizer.count(["hello"]) == 1
    assert tokenizer.count([]) == tokenizer.count([""]) == 0


def test_what_looks_like_a_control_token_is_text() -> None:
    assert tokenizer.count(["<|endoftext|>"]) == 7


def test_a_lone_surrogate_is_counted_too() -> None:
    assert tokenizer.count(["a\ud800b"]) >= 3


def test_long_repeats_take_no_time() -> None:
    # Naive merging would take minutes for these.
    assert tokenizer.count(["a" * 300_000]) == 37_500
    assert tokenizer.count([" " * 300_000]) < 10_000
