from __future__ import annotations

import pytest

from apps.dialects import said as module
from apps.dialects.said import Said


def test_a_block_is_one_text_however_it_came() -> None:
    said = Said()
    for block, text in ((0, "hel"), (1, "{"), (0, "lo"), (1, "}")):
        said.hear(block, text)
    assert said.texts() == ["hello", "{}"]
    assert said.chars == 7


def test_what_came_encrypted_too_is_forgotten() -> None:
    said = Said()
    said.hear("summary", "short")
    said.seal(400)
    said.forget("summary")
    said.forget("never heard of")
    assert (said.texts(), said.chars, said.sealed_bytes) == ([], 0, 400)


def test_an_endless_answer_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT_CHARS", 10)
    said = Said()
    for _ in range(100):
        said.hear(0, "abcd")
    assert (said.texts(), said.chars, said.unkept_chars) == (["abcdabcdab"], 10, 390)
