"""What a call used: as its upstream counted, or counted here and marked as an estimate."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final, Protocol

from apps.catalog.cache import ModelSnapshot
from apps.catalog.rules import image_tokens, possible
from apps.core import tokenizer
from apps.core.tokens import TokenUsage
from apps.dialects.common.prompt import prompt_texts
from apps.dialects.protocol import Request
from apps.dialects.said import Said
from apps.gateway.counting import Counter
from apps.gateway.permit import Permit
from apps.usage.record import Record

logger = logging.getLogger(__name__)

BYTES_PER_TOKEN: Final = 4
"""What a token is in bytes, about, where there is no text to count: encrypted reasoning (SPEC 2.3)."""


MAX_UNOFFERED_TOOL_REQUESTS: Final = 100
"""Of tools that nobody knew yet, and so nobody bounded, when the call was permitted."""


class Heard(Protocol):
    """A plain reply, or a stream so far."""

    @property
    def said(self) -> Said: ...
    @property
    def images(self) -> int: ...
    @property
    def usage(self) -> TokenUsage | None: ...


async def meter(
    permit: Permit, heard: Heard, *, is_final: bool, record: Record, counter: Counter
) -> tuple[TokenUsage, bool]:
    """What a call used, and whether that is an estimate: not what its upstream counted, because that never came or
    is more than there can be."""
    if heard.usage is None or not is_final:
        return await estimate(permit, heard, counter=counter), True
    usage = _believable(permit, heard.usage)
    if usage is heard.usage:
        return usage, False
    record.error_detail = "The upstream counted more than this call can use; what it can use was charged."
    logger.error("route %s counts what %s cannot use: %s", record.route_id, permit.model.model_id, heard.usage)
    return usage, True


def _believable(permit: Permit, usage: TokenUsage) -> TokenUsage:
    """The usage, cut to what this model can read and write. A tool of the upstream's makes it read all again."""
    model, request = permit.model, permit.request
    tool_uses = request.demand.server_tool_uses
    most_output = model.bounds.reasoning_tokens
    if model.max_output_tokens is None or request.makes_images:
        most_output += image_tokens(model.bounds, None, drafts=request.drafts)
    return possible(
        usage,
        most_input=model.context_tokens * (1 + tool_uses),
        most_output=request.n * ((model.max_output_tokens or 0) + most_output),
        most_tool_requests=tool_uses or MAX_UNOFFERED_TOOL_REQUESTS,
    )


async def estimate(permit: Permit, heard: Heard, *, counter: Counter) -> TokenUsage:
    """Usage of a call whose upstream never gave its final count: the prompt as reported, or counted from the request,
    and the output from what was received."""
    said, bounds, reported = heard.said, permit.model.bounds, heard.usage
    output = await counter.run(lambda: _count_output(said, bounds.tokenizer), size=said.chars)
    drawn = heard.images * image_tokens(bounds, permit.request.image_size)
    if reported is not None:
        return replace(reported, output=max(output + drawn, reported.output))
    prompt = await counter.run(
        lambda: count_prompt(permit.request, permit.model), size=permit.request.demand.text_bytes
    )
    return TokenUsage(input=prompt, output=output + drawn, image_output=drawn)


def _count_output(said: Said, name: str) -> int:
    """Tokens of what was kept; what was not is taken to be like it."""
    counted = tokenizer.count(said.texts(), name)
    unkept = said.unkept_chars * counted // said.chars if said.chars else said.unkept_chars // BYTES_PER_TOKEN
    return counted + unkept + -(-said.sealed_bytes // BYTES_PER_TOKEN)


def count_prompt(request: Request, model: ModelSnapshot) -> int:
    """Tokens of a prompt that nobody counted: its texts by the model's tokenizer, what it shows by the catalog."""
    demand, bounds = request.demand, model.bounds
    tokens = tokenizer.count(prompt_texts(request.fields), bounds.tokenizer)
    tokens += demand.images * bounds.image_input_tokens
    tokens += demand.document_pages * bounds.document_input_tokens_per_page
    tokens += demand.audio_parts * (bounds.audio_input_tokens or 0)
    return min(tokens, model.context_tokens)
