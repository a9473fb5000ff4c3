from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.pricing import Price, quote
from apps.catalog.rules import LEAST_OUTPUT_TOKENS, Bounds, Worth, input_bound, text_bound, worth, worth_of_images
from apps.core.tokens import TokenUsage

CONTEXT = 200_000
prices = st.integers(1, 10**10)
counts = st.integers(0, 10**7)

a_price = st.builds(
    Price,
    version_id=st.just(uuid.UUID(int=7)),
    input=prices,
    output=prices,
    cache_read=st.none() | prices,
    cache_write=st.none() | prices,
    cache_write_1h=st.none() | prices,
    server_tool_request=st.none() | prices,
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Price, dict[str, Any]]:
    facts = {
        "input_tokens": draw(st.integers(0, CONTEXT)),
        "writes_1h": draw(st.booleans()),
        "server_tool_uses": draw(st.integers(0, 20)),
        "n": draw(st.integers(1, 8)),
        "most_output_tokens": draw(st.integers(1, 128_000)),
        "caller_max_tokens": draw(st.none() | st.integers(1, 300_000)),
        "thinking_budget": draw(st.none() | st.integers(0, 64_000)),
        "unbounded_tokens": draw(st.just(0) | st.integers(0, 50_000)),
        "field_tokens": draw(st.integers(0, 40)),
    }
    return draw(a_price), facts


def bound(*, text_bytes: int = 0, **changes: Any) -> int:
    facts = {"images": 0, "document_pages": 0, "context_tokens": 10**9, **changes}
    return input_bound(Bounds(), text_tokens=text_bound(Bounds(), text_bytes=text_bytes), **facts)


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({}, 1_000),
        ({"text_bytes": 1}, 1_001),
        ({"text_bytes": 125_000}, 63_500),
        ({"text_bytes": 125_001}, 63_501),
        ({"images": 2}, 6_200),
        ({"document_pages": 3}, 10_000),
        ({"text_bytes": 10_000_000, "context_tokens": CONTEXT}, CONTEXT),
        ({"text_bytes": 10_000_000, "context_tokens": CONTEXT, "server_tool_uses": 3}, CONTEXT + 30_000),
    ],
)
def test_known_input_bounds(changes: dict[str, int], tokens: int) -> None:
    assert bound(**changes) == tokens


@given(counts, st.integers(0, 100), st.integers(0, 1_000), st.sampled_from(["text_bytes", "images", "document_pages"]))
def test_more_input_never_bounds_lower(text_bytes: int, images: int, pages: int, grown: str) -> None:
    facts = {"text_bytes": text_bytes, "images": images, "document_pages": pages}
    assert bound(**{**facts, grown: facts[grown] + 1}) >= bound(**facts)


@given(calls())
def test_wanted_is_never_less_than_least(call: tuple[Price, dict[str, Any]]) -> None:
    price, facts = call
    asked = worth(price, **facts)
    assert 0 <= asked.least_micro <= asked.wanted_micro


@given(calls(), st.integers(0, 10**13))
def test_a_call_within_its_granted_maximum_never_costs_more_than_the_grant(
    call: tuple[Price, dict[str, Any]], granted: int
) -> None:
    price, facts = call
    asked = worth(price, **facts)
    granted = max(granted, asked.least_micro)
    most = asked.max_tokens(granted)
    spent = TokenUsage(
        cache_write_1h=facts["input_tokens"] if facts["writes_1h"] and price.cache_write_1h is not None else 0,
        input=0 if facts["writes_1h"] and price.cache_write_1h is not None else facts["input_tokens"],
        output=(most + facts["unbounded_tokens"]) * facts["n"],
        server_tool_requests=facts["server_tool_uses"],
    )
    assert quote(price, spent) <= granted
    # And not one token less than it pays for.
    assert asked.fixed + (most + 1) * asked.output_price > granted * 1_000_000


@given(calls())
def test_what_is_least_pays_for_thinking_and_an_answer(call: tuple[Price, dict[str, Any]]) -> None:
    price, facts = call
    asked = worth(price, **facts)
    wanted = min(facts["caller_max_tokens"] or facts["most_output_tokens"], facts["most_output_tokens"])
    least = min(wanted, (facts["thinking_budget"] or 0) + LEAST_OUTPUT_TOKENS)
    assert asked.max_tokens(asked.least_micro) >= least
    assert asked.max_tokens(asked.wanted_micro) >= wanted
    assert asked.expected_tokens == facts["input_tokens"] + (least + facts["unbounded_tokens"]) * facts["n"]


@st.composite
def usages(draw: st.DrawFn, facts: dict[str, Any], *, output: int) -> TokenUsage:
    """Any usage that an upstream may report of such a call whose every answer has at most `output` tokens."""
    left = facts["input_tokens"]
    buckets = {}
    for bucket in ["cache_read", "cache_write_5m", *(["cache_write_1h"] if facts["writes_1h"] else [])]:
        buckets[bucket] = draw(st.integers(0, left))
        left -= buckets[bucket]
    most = (output + facts["unbounded_tokens"]) * facts["n"]
    return TokenUsage(
        input=draw(st.sampled_from([left, 0]) | st.integers(0, left)),
        output=draw(st.just(most) | st.integers(0, most)),
        server_tool_requests=draw(st.integers(0, facts["server_tool_uses"])),
        **buckets,
    )


@given(st.data(), calls())
def test_no_usage_that_fits_the_request_costs_more_than_its_bound(
    data: st.DataObject, call: tuple[Price, dict[str, Any]]
) -> None:
    price, facts = call
    asked = worth(price, **facts)
    assert quote(price, data.draw(usages(facts, output=asked.wanted_output))) <= asked.wanted_micro


@given(st.data(), calls(), st.integers(0, 10**13))
def test_no_usage_within_a_granted_maximum_costs_more_than_the_grant(
    data: st.DataObject, call: tuple[Price, dict[str, Any]], granted: int
) -> None:
    price, facts = call
    asked = worth(price, **facts)
    granted = min(max(granted, asked.least_micro), asked.wanted_micro)
    lowered = asked.lowered(granted)
    output = asked.wanted_output if lowered is None else lowered
    assert min(asked.wanted_output, asked.unusable_output + LEAST_OUTPUT_TOKENS) <= output <= asked.wanted_output
    assert quote(price, data.draw(usages(facts, output=output))) <= granted


@given(calls(), st.integers(0, 10**13), st.integers(0, 10**10))
def test_a_larger_grant_never_means_a_smaller_maximum(
    call: tuple[Price, dict[str, Any]], granted: int, more: int
) -> None:
    price, facts = call
    asked = worth(price, **facts)
    assert asked.max_tokens(granted) <= asked.max_tokens(granted + more)
    smaller, larger = asked.lowered(granted), asked.lowered(granted + more)
    assert larger is None or (smaller is not None and smaller <= larger)


@given(calls(), st.sampled_from(["input_tokens", "server_tool_uses", "n", "most_output_tokens", "unbounded_tokens"]))
def test_a_larger_call_is_never_worth_less(call: tuple[Price, dict[str, Any]], grown: str) -> None:
    price, facts = call
    asked, more = worth(price, **facts), worth(price, **{**facts, grown: facts[grown] + 1})
    assert more.wanted_micro >= asked.wanted_micro
    assert more.least_micro >= asked.least_micro


@given(calls(), st.integers(0, 10**13), st.booleans())
def test_the_advice_is_the_largest_maximum_that_is_granted(
    call: tuple[Price, dict[str, Any]], available: int, is_given: bool
) -> None:
    price, facts = call
    asked = worth(price, **facts)
    if asked.least_micro <= available:
        return  # no refusal, no advice
    largest = asked.largest_affordable(available, is_given=is_given)
    assert 0 <= largest <= asked.wanted_output
    longer = 0 if is_given else facts["field_tokens"]

    def needed(maximum: int) -> int:
        again = {**facts, "input_tokens": facts["input_tokens"] + longer, "caller_max_tokens": maximum}
        return worth(price, **again).least_micro

    if largest:
        assert needed(largest) <= available
        assert largest > (facts["thinking_budget"] or 0)
    if largest < asked.wanted_output and largest + 1 > (facts["thinking_budget"] or 0):
        assert needed(largest + 1) > available


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(1_000, 10_000), st.integers(500, 100_000))
def test_a_tokenizer_only_ever_tightens(text_bytes: int, counted: int, factor: int, floor: int) -> None:
    bounds = Bounds(bytes_per_thousand_tokens=floor, tokenizer_factor_thousandths=factor)
    cheap = text_bound(bounds, text_bytes=text_bytes)
    tight = text_bound(bounds, text_bytes=text_bytes, counted_tokens=counted)
    assert tight == min(cheap, -(-counted * factor // 1_000)) <= cheap


def test_a_coding_agents_turn_on_opus() -> None:
    opus = Price(
        uuid.UUID(int=7),
        input=525_000_000,
        output=2_625_000_000,
        cache_read=52_500_000,
        cache_write=656_000_000,
        cache_write_1h=1_050_000_000,
    )
    asked = worth(
        opus,
        input_tokens=63_500,
        writes_1h=False,
        server_tool_uses=0,
        n=1,
        most_output_tokens=128_000,
        caller_max_tokens=64_000,
        thinking_budget=None,
    )
    assert asked.wanted_micro == 63_500 * 656 + 64_000 * 2_625
    assert asked.least_micro == 63_500 * 656 + 4_096 * 2_625
    assert asked.max_tokens(asked.least_micro) == 4_096
    assert asked.max_tokens(0) == 0


def test_images_are_drawn_whole_or_not_at_all() -> None:
    price = Price(uuid.UUID(int=7), input=840_000_000, output=3_150_000_000, cache_read=210_000_000)
    asked = worth_of_images(price, input_tokens=1_000, output_tokens_per_image=6_300, n=3)
    micro = 1_000 * 840 + 3 * 6_300 * 3_150
    assert asked == Worth(
        wanted_micro=micro, least_micro=micro, fixed=micro * 1_000_000, output_price=0, expected_tokens=19_900
    )
    assert asked.max_tokens(10**15) == 0
