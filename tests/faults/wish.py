"""What a caller wants its upstream to do. It travels as the prompt, through whatever stands in between."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tests.faults.counting import BYTES_PER_TOKEN, PER_MESSAGE, count_tokens
from tests.flows.endpoints import Endpoint, Tokens, pieces

SAID_BY_DEFAULT = "Twelve dogs ran."


@dataclass(frozen=True, slots=True)
class Wish:
    tag: str
    """Names the call; the upstream's own request id too, so that usage records tell it."""
    input: int = 1_000
    output: int = 400
    parts: int = 4
    gap_ms: int = 0
    """Before a plain reply, and between the events of a stream."""
    words: int = 0
    """Say so many words, and report as many output tokens as they are; in place of `output`."""
    kilobytes: int = 0
    """Say so much that means nothing."""
    status: int = 200
    cut_after: int = -1
    """Break a stream off after so many events."""
    stall_after: int = -1
    """Send so many events of a stream, then nothing any more."""
    padding: int = 0
    """Words at the end of the prompt that mean nothing."""

    @property
    def prompt(self) -> str:
        """`tag=t-1 parts=20 …`: what differs from the defaults."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        asked = [f"{field.name}={said[field.name]}" for field in fields(self) if said[field.name] != field.default]
        return " ".join([*asked, *(f"pad{number}" for number in range(self.padding))])

    @property
    def text(self) -> str:
        if self.kilobytes:
            return "x" * self.kilobytes * 1_000
        return " ".join(f"word{number}" for number in range(self.words)) or SAID_BY_DEFAULT

    def tokens(self, endpoint: Endpoint) -> Tokens:
        """What the upstream reports."""
        return Tokens(self.input, count_tokens(self.text, endpoint.name) if self.words else self.output)

    def counted(self, endpoint: Endpoint) -> Wish:
        """The same with `input` as the upstream counts this prompt."""
        counted = self
        for _ in range(3):  # the number is a part of what it counts
            counted = replace(counted, input=count_tokens(counted.prompt, endpoint.name) + PER_MESSAGE)
        return counted


def said_in(wish: Wish, said_parts: int, endpoint: str) -> int:
    """Tokens in so many of the parts that its text was sent in; of kilobytes of nothing the most that they can be."""
    said = "".join(pieces(wish.text, wish.parts)[:said_parts])
    return len(said) // BYTES_PER_TOKEN if wish.kilobytes else count_tokens(said, endpoint)


def parse_wish(prompt: str) -> Wish:
    named = dict(part.split("=", 1) for part in prompt.split(" ") if "=" in part)
    return Wish(tag=named.pop("tag"), **{name: int(value) for name, value in named.items()})
