"""What was changed on the way is told in one header, whatever the caller called it."""

from __future__ import annotations

from apps.dialects.common.notes import MAX_NOTE_CHARS, MAX_NOTES, fit, fit_all


def test_a_note_is_one_line_of_plain_characters() -> None:
    assert fit("temperature: 1.4 -> 1") == "temperature: 1.4 -> 1"
    assert fit("web_search\r\nx-evil: 1, \x00\u20ac: left out") == "web_search??x-evil: 1? ??: left out"
    assert len(fit("x" * 5_000)) == MAX_NOTE_CHARS


def test_notes_are_few_and_each_is_told_once() -> None:
    assert fit_all(["a", "b", "a"]) == ("a", "b")
    assert len(fit_all(f"tools[{n}]: left out" for n in range(3_000))) == MAX_NOTES
