"""Hold what a call may cost: by a cheap bound first; where that is not affordable, by what a tokenizer counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from apps.catalog.rules import LEAST_OUTPUT_TOKENS, Worth
from apps.core import tokenizer
from apps.core.money import TOKENS_PER_PRICE
from apps.dialects.common.prompt import written_text
from apps.gateway.call import Call, Receive
from apps.gateway.permit import Permit, bound, guards_of
from apps.gateway.stores import Stores
from apps.governor.store.protocol import CallerGone
from apps.ledger.operations import Granted, Hold, HoldRefused

COMFORTABLE_TOKENS: Final = 4 * LEAST_OUTPUT_TOKENS
"""A `max_tokens` lowered to less than this is worth a second look at what the prompt can cost."""
MAX_COUNTED_BYTES: Final = 2_097_152
"""Longer texts fill any model's context by the cheap bound: there is nothing to gain, and much to read."""
COUNT_S: Final = 0.5
"""Prose of 2 MB is counted in this time. What takes longer was written to take long; its bytes have to do."""
LEAST_GAIN: Final = 10
"""Text that is less than this fraction of what is needed is not counted: the answer is what costs."""


async def afford(call: Call, permitted: Permit, receive: Receive, stores: Stores) -> tuple[Granted, int | None]:
    """Hold the credits that the call may cost; return the grant, and what `max_tokens` is lowered to (None: it is not).

    Raises: HoldRefused, LedgerUnavailable, AlreadyServed; CallerGone, where the caller left while it waited for other
    calls' holds.
    """
    worth, may_count = permitted.worth, _is_worth_counting(permitted, stores)
    try:
        # Whether to wait is decided below: a tighter bound may need no waiting.
        grant = await stores.ledger.hold(_ask(call, permitted, worth, stores, may_wait=False))
    except HoldRefused as refusal:
        if may_count and _could_fit(refusal, worth):
            worth, may_count = await _tighten(permitted, stores), False
        elif refusal.code != "credits_reserved":
            raise _explained(refusal, permitted, worth) from None
        try:
            grant = await _hold_unless_gone(_ask(call, permitted, worth, stores, may_wait=True), receive, stores)
        except HoldRefused as final:
            raise _explained(final, permitted, worth) from None
    lowered = worth.lowered(grant.amount_micro)
    if may_count and lowered is not None and lowered < COMFORTABLE_TOKENS:
        worth = await _tighten(permitted, stores)
        lowered = worth.lowered(grant.amount_micro)
    return grant, lowered


def _ask(call: Call, permitted: Permit, worth: Worth, stores: Stores, *, may_wait: bool) -> Hold:
    return Hold(
        request_id=call.request_id,
        account_id=permitted.key.account_id,
        key_id=permitted.key.key_id,
        model_id=permitted.model.model_id,
        process_id=stores.ledger.process_id,
        wanted_micro=worth.wanted_micro,
        # A strict caller would rather be refused than have its `max_tokens` lowered.
        least_micro=worth.wanted_micro if permitted.is_strict else worth.least_micro,
        guards=guards_of(permitted),
        may_wait=may_wait,
        idempotency=call.idempotency,
    )


def _is_worth_counting(permitted: Permit, stores: Stores) -> bool:
    """Whether the text is so much of what the call needs that a count of its tokens can make the difference."""
    text_bytes = permitted.request.demand.text_bytes
    if text_bytes > MAX_COUNTED_BYTES or stores.counter.is_busy:
        return False
    return permitted.worth.text_weight * LEAST_GAIN >= permitted.worth.least_micro * TOKENS_PER_PRICE


def _could_fit(refusal: HoldRefused, worth: Worth) -> bool:
    """Whether there is room for the shortest answer to a prompt whose text were nothing: else there is no use in
    counting it."""
    facts = refusal.facts
    if facts is None or facts.needed is None:
        return False
    spoken_for = 0 if facts.limit == "insufficient_credits" or refusal.code == "credits_reserved" else facts.used
    shortest = worth.fixed - worth.text_weight + (worth.unusable_output + 1) * worth.output_price
    return shortest <= (facts.value - spoken_for) * TOKENS_PER_PRICE


async def _tighten(permitted: Permit, stores: Stores) -> Worth:
    """The call's worth by a tokenizer's count of its text, which takes the place of the bytes where it is less."""
    request, bounds = permitted.request, permitted.model.bounds

    def count() -> int | None:
        return tokenizer.count_within(written_text(request.fields), bounds.tokenizer, seconds=COUNT_S)

    counted = await stores.counter.run(count, size=request.demand.text_bytes)
    return bound(permitted.model, request, price=permitted.price, writes_1h=permitted.writes_1h, counted_tokens=counted)


async def _hold_unless_gone(asked: Hold, receive: Receive, stores: Stores) -> Granted:
    """Wait for the hold as long as the caller waits for us. What is granted to nobody is given back."""
    holding = asyncio.ensure_future(stores.ledger.hold(asked))
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((holding, gone), return_when=asyncio.FIRST_COMPLETED)
        if not holding.done():
            raise CallerGone
        return holding.result()
    finally:
        gone.cancel()
        if not holding.done():
            holding.cancel()
        await asyncio.gather(holding, gone, return_exceptions=True)


def _explained(refusal: HoldRefused, permitted: Permit, worth: Worth) -> HoldRefused:
    """The refusal with the largest `max_tokens` that would fit; 0 where none does."""
    facts = refusal.facts
    if facts is not None and facts.available is not None and worth.output_price:
        largest = worth.largest_affordable(facts.available, is_given=permitted.request.max_tokens is not None)
        refusal.facts = replace(facts, max_tokens=largest)
    return refusal
