"""What a call used where its upstream did not say: counted by a tokenizer, and marked as an estimate."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

from apps.catalog.rules import image_tokens
from apps.core import tokenizer
from apps.core.tokens import TokenUsage
from apps.dialects.common.prompt import prompt_texts
from apps.dialects.said import Said
from apps.gateway.counting import Counter
from apps.gateway.permit import Permit

BYTES_PER_TOKEN: Final = 4
"""What a token is in bytes, about, where there is no text to count: encrypted reasoning (SPEC 2.3)."""


class Heard(Protocol):
    """A plain reply, or a stream so far."""

    @property
    def said(self) -> Said: ...
    @property
    def images(self) -> int: ...
    @property
    def usage(self) -> TokenUsage | None: ...


async def estimate(permit: Permit, heard: Heard, *, counter: Counter) -> TokenUsage:
    """Usage of a call whose upstream never gave its final count: the prompt as reported, or counted from the request,
    and the output from what was received."""
    said, bounds, reported = heard.said, permit.model.bounds, heard.usage
    output = await counter.run(lambda: _count_output(said, bounds.tokenizer), size=said.chars)
    drawn = heard.images * image_tokens(bounds, permit.request.image_size)
    if reported is not None:
        return replace(reported, output=max(output + drawn, reported.output))
    prompt = await counter.run(lambda: _count_prompt(permit), size=permit.request.demand.text_bytes)
    return TokenUsage(input=prompt, output=output + drawn, image_output=drawn)


def _count_output(said: Said, name: str) -> int:
    unread_bytes = said.sealed_bytes + said.unkept_chars
    return tokenizer.count(said.texts(), name) + -(-unread_bytes // BYTES_PER_TOKEN)


def _count_prompt(permit: Permit) -> int:
    demand, bounds = permit.request.demand, permit.model.bounds
    tokens = tokenizer.count(prompt_texts(permit.request.fields), bounds.tokenizer)
    tokens += demand.images * bounds.image_input_tokens
    tokens += demand.document_pages * bounds.document_input_tokens_per_page
    return min(tokens, permit.model.context_tokens)
