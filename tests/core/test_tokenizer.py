from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


PROSE = "The twelve dogs ran; it's 2026, and nobody's cat (not even Tom's) looked on: a_b = c[1] + 0x1f.\n\n    Then… "
TEXTS = [PROSE * 400, "word " * 9_000, "中文 and words, é. " * 2_000]


@pytest.mark.parametrize("name", tokenizer.NAMES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_pieces_counts_as_the_whole(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    in_pieces = tokenizer.count([text], name)
    monkeypatch.setattr(tokenizer, "PIECE_CHARS", 10**9)
    assert in_pieces == tokenizer.count([text], name)


WORDS = st.sampled_from(["dog", "Cats", " ", "  ", "7", "\n", "é", "'s", "(", ". ", "x_y", "-", "🙂"])


@given(st.lists(WORDS, max_size=300))
def test_cuts_between_words_cut_no_token(words: list[str]) -> None:
    text = "".join(words)
    pieces = [text]
    for gap in tokenizer._BETWEEN_WORDS.finditer(text):
        done = sum(map(len, pieces[:-1]))
        pieces[-1:] = [pieces[-1][: gap.start() - done], pieces[-1][gap.start() - done :]]
    assert tokenizer.count(pieces) == tokenizer.count([text])


def test_text_without_words_counts_little_more_in_pieces() -> None:
    for text in ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7" * 2_000, PROSE.replace(" ", "  ") * 400):
        whole = len(tokenizer._load(tokenizer.DEFAULT).encode_ordinary(text))
        assert 0 <= tokenizer.count([text]) - whole <= 3 * (len(text) // tokenizer.PIECE_CHARS)


def test_a_count_that_takes_too_long_is_given_up() -> None:
    assert tokenizer.count_within("a" * 2_000_000, tokenizer.DEFAULT, seconds=0) is None
    assert tokenizer.count_within(PROSE, tokenizer.DEFAULT, seconds=5) == tokenizer.count([PROSE])
