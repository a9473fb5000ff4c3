"""The most a call can cost, before it is made. Pure; amounts are microcredits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from apps.catalog.pricing import TOOL_SCALE, Price
from apps.core import tokenizer
from apps.core.money import TOKENS_PER_PRICE

LEAST_OUTPUT_TOKENS: Final = 4_096
"""A grant below this, beyond the thinking budget, would cut answers short (SPEC 2.2)."""
DEFAULT_OVERHEAD_TOKENS: Final = 1_000
"""What providers add to a prompt for tools and system text, where the catalog says nothing."""
FOREIGN_FACTOR: Final = 1_750
"""Thousandths of a token for each token that another model's tokenizer counts, where the catalog says nothing: recorded
prompts of Claude's older models had 1.22 at most, and its newer ones count up to 1.35 times as many."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What items cost at most that the text does not show; from the catalog's `bounds`."""

    bytes_per_thousand_tokens: int = 2_000
    image_input_tokens: int = 2_600
    document_input_tokens_per_page: int = 3_000
    overhead_tokens: int = DEFAULT_OVERHEAD_TOKENS
    image_output_tokens: Mapping[str, int] = field(default_factory=dict)
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
class Worth:
    """What to ask a hold for, and how a grant turns back into tokens."""

    wanted_micro: int
    least_micro: int
    fixed: int
    """Input, tools and whatever else `max_tokens` does not bound, in millionths of a microcredit."""
    output_price: int
    """Per output token of all `n` answers, in millionths of a microcredit; 0 where `max_tokens` bounds nothing."""
    expected_tokens: int
    """Input bound + least output: what the governor reserves of the tokens per minute."""

    def max_tokens(self, granted_micro: int) -> int:
        """The largest `max_tokens` that `granted_micro` pays for."""
        if not self.output_price:
            return 0
        return max(0, (granted_micro * TOKENS_PER_PRICE - self.fixed) // self.output_price)


def image_tokens(bounds: Bounds, size: str | None) -> int:
    """The most output tokens that one image of this size or quality can be; the dearest where it is not named."""
    sizes = bounds.image_output_tokens
    return sizes.get(size or "auto", max(sizes.values(), default=0))


def input_bound(bounds: Bounds, *, text_bytes: int, images: int, document_pages: int, context_tokens: int) -> int:
    """The most input tokens that this content can be; never more than the model reads at all."""
    tokens = (
        -(-text_bytes * 1_000 // bounds.bytes_per_thousand_tokens)
        + images * bounds.image_input_tokens
        + document_pages * bounds.document_input_tokens_per_page
        + bounds.overhead_tokens
    )
    return min(tokens, context_tokens)


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
) -> Worth:
    """The worst case of a call whose answers `max_tokens` bounds, and the least it is worth starting with.

    Shape:  wanted = input bound + n x min(caller's maximum, model's maximum), each at its dearest meter
            least  = input bound + n x min(caller's maximum, thinking budget + 4,096)
    """
    fixed = (
        input_tokens * price.dearest_input(writes_1h=writes_1h)
        + server_tool_uses * (price.server_tool_request or 0) * TOOL_SCALE
    )
    wanted_output = min(caller_max_tokens or most_output_tokens, most_output_tokens)
    least_output = min(wanted_output, (thinking_budget or 0) + LEAST_OUTPUT_TOKENS)
    output_price = price.output * n
    return Worth(
        wanted_micro=_round_up(fixed + wanted_output * output_price),
        least_micro=_round_up(fixed + least_output * output_price),
        fixed=fixed,
        output_price=output_price,
        expected_tokens=input_tokens + least_output * n,
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


def _round_up(weight: int) -> int:
    return -(-weight // TOKENS_PER_PRICE)
