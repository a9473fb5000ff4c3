"""What to say to a prompt: the same answer in every dialect, and the same one each time it is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from apps.core.tokens import TokenUsage
from apps.upstreams.simulator import calls, png, prose, schema, tokens
from apps.upstreams.simulator.cache import CacheUse
from apps.upstreams.simulator.calls import Call
from apps.upstreams.simulator.prompt import Prompt

NAME: Final = "Hypereal simulator"
QUOTE_CHARS: Final = 160
RESULT_CHARS: Final = 400
CHUNK_CHARS: Final = 12
"""Text streams in chunks of so many characters: about three tokens, as providers do."""

LONG_WORDS: Final = 300
"""How long an answer is that shall be long and names no length."""

_LENGTH: Final = re.compile(r"\b(\d{2,6})[ -](word|token|sentence|line|paragraph)s?\b", re.IGNORECASE)
_WORDS_PER: Final = {"word": 1.0, "token": 0.7, "sentence": 10.0, "line": 10.0, "paragraph": 60.0}
_LONG: Final = re.compile(r"\b(?:long|essay|story|article|at length|in detail|detailed)\b", re.IGNORECASE)

Stop = Literal["end", "length", "stop_sequence", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice: thought, text, calls, images; `stop` says why it ended."""

    chunks: tuple[str, ...]
    """The text, as it streams."""
    stop: Stop
    output_tokens: int
    thought: str = ""
    thought_tokens: int = 0
    calls: tuple[Call, ...] = ()
    images: tuple[bytes, ...] = ()
    image_tokens: int = 0
    stop_sequence: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.chunks)


def answer(prompt: Prompt, *, index: int = 0) -> Answer:
    """The answer to a prompt; `index` tells the choices of `n` apart."""
    thought = _thought(prompt)
    thought_tokens = tokens.count(thought)
    left = None if prompt.max_tokens is None else prompt.max_tokens - thought_tokens
    if left is not None and left <= 0:
        cut = tokens.cut(thought, prompt.max_tokens or 0)
        return Answer((), "length", tokens.count(cut), thought=cut, thought_tokens=tokens.count(cut))
    chosen = () if _is_measured(prompt) else calls.choose(prompt)
    if chosen:
        size = sum(tokens.count(call.arguments) + tokens.count(call.name) for call in chosen)
        if left is not None and size > left:
            # A call cut short would be no JSON; providers that send half of one break their own SDKs.
            return Answer((), "length", prompt.max_tokens or 0, thought=thought, thought_tokens=thought_tokens)
        return Answer((), "tool_calls", thought_tokens + size, thought, thought_tokens, chosen)
    images = _images(prompt)
    image_tokens = 0 if prompt.canvas is None else prompt.canvas.tokens * len(images)
    text, stop, stop_sequence = _ended(_say(prompt, index), prompt.stop, left)
    return Answer(
        chunks=_chunks(text, prompt.directives.chunks),
        stop=stop,
        output_tokens=thought_tokens + tokens.count(text) + image_tokens,
        thought=thought,
        thought_tokens=thought_tokens,
        images=images,
        image_tokens=image_tokens,
        stop_sequence=stop_sequence,
    )


def usage(prompt: Prompt, answers: tuple[Answer, ...], cached: CacheUse) -> TokenUsage:
    """What the call used, in the ledger's disjoint buckets."""
    plain = prompt.context.tokens - cached.read - cached.write_5m - cached.write_1h
    return TokenUsage(
        input=plain,
        cache_read=cached.read,
        cache_write_5m=cached.write_5m,
        cache_write_1h=cached.write_1h,
        output=sum(answer.output_tokens for answer in answers),
        reasoning=sum(answer.thought_tokens for answer in answers),
        image_input=min(prompt.context.image_tokens, plain),
        image_output=sum(answer.image_tokens for answer in answers),
    )


def _is_measured(prompt: Prompt) -> bool:
    return prompt.directives.chunks is not None or prompt.directives.output_tokens is not None


def _thought(prompt: Prompt) -> str:
    if prompt.thinking is None or _is_measured(prompt):
        return ""
    opening = f'They wrote "{_quote(prompt.talk.ask)}". I am a simulator standing in for {prompt.model}. '
    return opening + prose.sentences(prompt.talk.said, prompt.thinking.sentences)


def _say(prompt: Prompt, index: int) -> str:
    if _is_measured(prompt):
        return _measured(prompt)
    if prompt.schema is not None:
        return _structured(prompt)
    if prompt.canvas is not None and not prompt.canvas.has_text:
        return ""
    text = f"This is the {NAME}, standing in for {prompt.model}. "
    talk = prompt.talk
    if talk.results:
        text += " ".join(f'The tool answered: "{result[:RESULT_CHARS]}".' for result in talk.results)
    elif prompt.canvas is not None:
        text += f'I drew "{_quote(talk.ask)}".'
    else:
        text += f'You wrote: "{_quote(talk.ask)}".'
        if talk.turns > 1:
            text += f" That was turn {talk.turns}."
        if wanted := _wanted_words(talk.ask):
            text += " " + prose.words(talk.said, wanted)
    return text if prompt.n == 1 else f"{text} (Choice {index + 1} of {prompt.n}.)"


def _measured(prompt: Prompt) -> str:
    """Text of the size that a directive demands; where only chunks are counted, each is a full one."""
    size_tokens = prompt.directives.output_tokens
    if size_tokens is not None:
        return prose.exactly(prompt.talk.said, size_tokens * tokens.BYTES_PER_TOKEN)
    return prose.exactly(prompt.talk.said, (prompt.directives.chunks or 0) * CHUNK_CHARS)


def _structured(prompt: Prompt) -> str:
    value: Any
    if prompt.schema:
        value = schema.instance(prompt.schema, schema.gather(prompt.talk.ask))
    else:
        value = {"simulator": NAME, "model": prompt.model, "you_wrote": _quote(prompt.talk.ask)}
    return msgspec.json.encode(value).decode()


def _images(prompt: Prompt) -> tuple[bytes, ...]:
    canvas = prompt.canvas
    if canvas is None:
        return ()
    return tuple(
        png.draw(f"{prompt.talk.said} {place}", canvas.width, canvas.height) for place in range(1, canvas.n + 1)
    )


def _wanted_words(ask: str) -> int:
    """How many words the person wants beyond the short answer; 0 for no more."""
    if match := _LENGTH.search(ask):
        return int(int(match[1]) * _WORDS_PER[match[2].lower()])
    return LONG_WORDS if _LONG.search(ask) else 0


def _ended(text: str, stops: tuple[str, ...], most: int | None) -> tuple[str, Stop, str | None]:
    """The text up to the first stop sequence and the token limit, and what ended it."""
    stop: Stop = "end"
    sequence = None
    for candidate in stops:
        place = text.find(candidate)
        if place >= 0:
            text, stop, sequence = text[:place], "stop_sequence", candidate
    if most is not None and tokens.count(text) > most:
        return tokens.cut(text, most), "length", None
    return text, stop, sequence


def _chunks(text: str, wanted: int | None) -> tuple[str, ...]:
    """The text in equal parts: exactly `wanted` (fewer where it has fewer characters), or one per CHUNK_CHARS."""
    if wanted is None:
        return tuple(text[start : start + CHUNK_CHARS] for start in range(0, len(text), CHUNK_CHARS))
    parts = min(wanted, len(text))
    return tuple(text[len(text) * part // parts : len(text) * (part + 1) // parts] for part in range(parts))


def _quote(ask: str) -> str:
    flat = " ".join(ask[: 4 * QUOTE_CHARS].split())
    return flat if len(flat) <= QUOTE_CHARS else flat[: QUOTE_CHARS - 3] + "..."
