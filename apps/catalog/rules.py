"""The most a call can cost, before it is made. Pure; amounts are microcredits."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from apps.catalog.pricing import TOOL_SCALE, Price
from apps.core import tokenizer
from apps.core.money import TOKENS_PER_PRICE
from apps.core.tokens import TokenUsage

LEAST_OUTPUT_TOKENS: Final = 4_096
"""A grant below this, beyond the thinking budget, would cut answers short (SPEC 2.2)."""
DEFAULT_OVERHEAD_TOKENS: Final = 1_000
"""What providers add to a prompt for tools and system text, where the catalog says nothing."""
DEFAULT_TOOL_TOKENS: Final = 10_000
"""Recorded searches added up to 7,200 tokens each; pages of results can be longer."""
FOREIGN_FACTOR: Final = 1_750
"""Thousandths of a token for each token that another model's tokenizer counts, where the catalog says nothing: recorded
prompts of Claude's older models had 1.22 at most, and its newer ones count up to 1.35 times as many."""

DRAFT_TOKENS: Final = 100
"""Output tokens of one draft that a stream shows of an unfinished image, as its provider's guide to streaming says."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What items cost at most that the text does not show; from the catalog's `bounds`."""

    bytes_per_thousand_tokens: int = 2_000
    image_input_tokens: int = 2_600
    document_input_tokens_per_page: int = 3_000
    audio_input_tokens: int | None = None
    """Of one audio part, whatever its length. None: this model takes none."""
    server_tool_input_tokens: int = DEFAULT_TOOL_TOKENS
    """What one use of the upstream's own tools adds to the input."""
    overhead_tokens: int = DEFAULT_OVERHEAD_TOKENS
    image_output_tokens: Mapping[str, int] = field(default_factory=dict)
    reasoning_tokens: int = 0
    """Of each answer, in the output's meter, that `max_tokens` does not bound; 0 where it bounds all."""
    tokenizer: str = tokenizer.DEFAULT
    """Whose vocabulary counts this model's texts."""
    tokenizer_factor_thousandths: int = FOREIGN_FACTOR
    """1,000 where that vocabulary is the model's own."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much of one model at once: the governor's part of its policy."""

    concurrency: int
    rpm: int
    tpm: int
    ipm: int | None
    queue_s: int
    """0: no queue."""
    queue_length: int
    queue_tokens: int


@dataclass(frozen=True, slots=True)
class InsurancePolicy:
    """What is promised for calls that run abnormally long: the version of a model's policy that is in force."""

    version_id: uuid.UUID
    threshold_ms: int
    percent: int
    """Of the charge, that is paid back; never 0: such a model is not insured."""
    ms_per_output_token: int
    """Added to the threshold of a stream: a long answer is not a slow one."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What to ask a hold for, and how a grant turns back into tokens. Weights are millionths of a microcredit."""

    wanted_micro: int
    least_micro: int
    fixed: int
    """The weight of input, tools and whatever else `max_tokens` does not bound."""
    output_price: int
    """The weight of an output token of all `n` answers; 0 where `max_tokens` bounds nothing."""
    expected_tokens: int
    """Input bound + least output: what the governor reserves of the tokens per minute."""
    asked_output: int = 0
    """The caller's own maximum, or the model's."""
    wanted_output: int = 0
    """The same, but no more than the model's: what `wanted_micro` pays for."""
    unusable_output: int = 0
    """A `max_tokens` of no more than this is no answer: it goes into thinking, or is less than one image."""
    field_weight: int = 0
    """What a field added to the request weighs at most: a caller may follow our advice on `max_tokens`."""
    text_weight: int = 0
    """The part of `fixed` that a tokenizer could make smaller."""

    def max_tokens(self, granted_micro: int) -> int:
        """The largest `max_tokens` that `granted_micro` pays for."""
        if not self.output_price:
            return 0
        return max(0, (granted_micro * TOKENS_PER_PRICE - self.fixed) // self.output_price)

    def lowered(self, granted_micro: int) -> int | None:
        """What `max_tokens` has to become under this grant; None where it may stay as it is."""
        if not self.output_price:
            return None
        most = min(self.max_tokens(granted_micro), self.wanted_output)
        return most if most < self.asked_output else None

    def largest_affordable(self, available_micro: int, *, is_given: bool) -> int:
        """The largest `max_tokens` with which this call would be granted; 0 where none is worth it. `is_given`: the
        request names its maximum already, so that a smaller one makes it no longer."""
        if not self.output_price:
            return 0
        room = available_micro * TOKENS_PER_PRICE - self.fixed - (0 if is_given else self.field_weight)
        largest = min(room // self.output_price, self.wanted_output)
        return largest if largest > self.unusable_output else 0


def image_tokens(bounds: Bounds, size: str | None, *, drafts: int = 0) -> int:
    """The most output tokens that one image of this size or quality can be, with so many drafts of it on the way; the
    dearest where it is not named."""
    sizes = bounds.image_output_tokens
    return sizes.get(size or "auto", max(sizes.values(), default=0)) + drafts * DRAFT_TOKENS


def text_bound(bounds: Bounds, *, text_bytes: int, counted_tokens: int | None = None) -> int:
    """The most tokens that a text of so many bytes can be. `counted_tokens` is what `bounds.tokenizer` counts of it,
    which says more where it is less."""
    by_bytes = -(-text_bytes * 1_000 // bounds.bytes_per_thousand_tokens)
    if counted_tokens is None:
        return by_bytes
    return min(by_bytes, -(-counted_tokens * bounds.tokenizer_factor_thousandths // 1_000))


def input_bound(
    bounds: Bounds,
    *,
    text_tokens: int,
    images: int,
    document_pages: int,
    audio_parts: int = 0,
    stored_tokens: int = 0,
    server_tool_uses: int = 0,
    context_tokens: int,
) -> int:
    """The most input tokens that this content can be; never more than the model reads at all, but for what the
    upstream's own tools add: it reads anew after each use."""
    tokens = (
        text_tokens
        + images * bounds.image_input_tokens
        + document_pages * bounds.document_input_tokens_per_page
        + audio_parts * (bounds.audio_input_tokens or 0)
        + stored_tokens
        + bounds.overhead_tokens
    )
    return min(tokens, context_tokens) + server_tool_uses * bounds.server_tool_input_tokens


def worth(
    price: Price,
    *,
    input_tokens: int,
    writes_1h: bool,
    server_tool_uses: int,
    n: int,
    most_output_tokens: int,
    caller_max_tokens: int | None,
    thinking_budget: int | None,
    unbounded_tokens: int = 0,
    field_tokens: int = 0,
    text_tokens: int = 0,
) -> Worth:
    """The worst case of a call whose answers `max_tokens` bounds, and the least it is worth starting with.

    Shape:  wanted = input bound + n x min(caller's maximum, model's maximum), each at its dearest meter
            least  = input bound + n x min(caller's maximum, thinking budget + 4,096)
    `unbounded_tokens`: reasoning that the model adds to each answer whatever `max_tokens` says. `text_tokens`: how much
    of the input is text.
    """
    input_price = price.dearest_input(writes_1h=writes_1h)
    output_price = price.output * n
    fixed = (
        input_tokens * input_price
        + server_tool_uses * (price.server_tool_request or 0) * TOOL_SCALE
        + unbounded_tokens * output_price
    )
    asked_output = caller_max_tokens or most_output_tokens
    wanted_output = min(asked_output, most_output_tokens)
    least_output = min(wanted_output, (thinking_budget or 0) + LEAST_OUTPUT_TOKENS)
    return Worth(
        wanted_micro=_round_up(fixed + wanted_output * output_price),
        least_micro=_round_up(fixed + least_output * output_price),
        fixed=fixed,
        output_price=output_price,
        expected_tokens=input_tokens + (least_output + unbounded_tokens) * n,
        asked_output=asked_output,
        wanted_output=wanted_output,
        unusable_output=thinking_budget or 0,
        field_weight=field_tokens * input_price,
        text_weight=text_tokens * input_price,
    )


def worth_of_images(price: Price, *, input_tokens: int, output_tokens_per_image: int, n: int) -> Worth:
    """The worst case of an Images call: nothing in the request can lower it, so all of it is needed."""
    fixed = input_tokens * price.dearest_input(writes_1h=False) + n * output_tokens_per_image * price.output
    amount = _round_up(fixed)
    return Worth(
        wanted_micro=amount,
        least_micro=amount,
        fixed=fixed,
        output_price=0,
        expected_tokens=input_tokens + n * output_tokens_per_image,
    )


def possible(usage: TokenUsage, *, most_input: int, most_output: int, most_tool_requests: int) -> TokenUsage:
    """The usage, cut to what a call can use at all; the very same object where it is within that. The catalog's figures
    are round ("256k", "1M"), so an eighth more is believed."""
    if (
        usage.output * 8 <= most_output * 9
        and usage.prompt * 8 <= most_input * 9
        and usage.server_tool_requests <= most_tool_requests
    ):
        return usage
    fresh = min(usage.input, most_input)
    cache_read = min(usage.cache_read, most_input - fresh)
    cache_write_5m = min(usage.cache_write_5m, most_input - fresh - cache_read)
    cache_write_1h = min(usage.cache_write_1h, most_input - fresh - cache_read - cache_write_5m)
    output = min(usage.output, most_output)
    return TokenUsage(
        input=fresh,
        cache_read=cache_read,
        cache_write_5m=cache_write_5m,
        cache_write_1h=cache_write_1h,
        output=output,
        reasoning=min(usage.reasoning, output),
        image_input=min(usage.image_input, fresh),
        image_output=min(usage.image_output, output),
        server_tool_requests=min(usage.server_tool_requests, most_tool_requests),
    )


def _round_up(weight: int) -> int:
    return -(-weight // TOKENS_PER_PRICE)
