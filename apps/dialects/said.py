"""What an upstream said, kept until the call is billed: an estimate counts it where the upstream counts nothing."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

MAX_KEPT_CHARS: Final = 262_144
"""Of one answer: some 65,000 tokens. Of what is longer only the length is kept: a hundred readers that do not read must
not cost a hundred megabytes."""


@dataclass(slots=True)
class Said:
    """The texts of one answer by block (a choice's content, its reasoning, one tool call), each as a tokenizer wants
    it: whole. Nothing is joined or counted before somebody asks."""

    _blocks: dict[Hashable, list[str]] = field(default_factory=dict)
    chars: int = 0
    """Characters kept."""
    unkept_chars: int = 0
    sealed_bytes: int = 0
    """Bytes of reasoning that came encrypted, and of nothing else."""

    def hear(self, block: Hashable, text: str) -> None:
        """More of that block's text."""
        chars = self.chars + len(text)
        if chars > MAX_KEPT_CHARS:
            self.unkept_chars += chars - MAX_KEPT_CHARS
            text = text[: MAX_KEPT_CHARS - self.chars]
            chars = MAX_KEPT_CHARS
            if not text:
                return
        self.chars = chars
        try:
            self._blocks[block].append(text)
        except KeyError:
            self._blocks[block] = [text]

    def forget(self, block: Hashable) -> None:
        """That block's text says again what came encrypted."""
        self.chars -= sum(map(len, self._blocks.pop(block, ())))

    def seal(self, size: int) -> None:
        """So many bytes of reasoning that nobody but the upstream can read."""
        self.sealed_bytes += size

    def texts(self) -> list[str]:
        """One text per block, in the order in which they began."""
        return ["".join(parts) for parts in self._blocks.values()]
