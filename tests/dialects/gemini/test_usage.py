"""What Gemini counts, in buckets that never overlap."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.tokens import TokenUsage
from apps.dialects.gemini.usage import read_usage


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 7, "thoughtsTokenCount": 33, "totalTokenCount": 49},
            TokenUsage(input=9, output=40, reasoning=33),
        ),
        (
            {"promptTokenCount": 3520, "cachedContentTokenCount": 3512, "candidatesTokenCount": 2,
             "thoughtsTokenCount": 42, "totalTokenCount": 3564},
            TokenUsage(input=8, cache_read=3512, output=44, reasoning=42),
        ),
        (
            {"promptTokenCount": 85, "toolUsePromptTokenCount": 149, "candidatesTokenCount": 122,
             "thoughtsTokenCount": 87, "totalTokenCount": 443},
            TokenUsage(input=234, output=209, reasoning=87),
        ),
        # Details may list only the images; what is left is text.
        (
            {"promptTokenCount": 17, "candidatesTokenCount": 1336, "totalTokenCount": 1353,
             "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]},
            TokenUsage(input=17, output=1336, image_output=1290),
        ),
        # Images in and images out are counted apart.
        (
            {"promptTokenCount": 300, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 42},
             {"modality": 2, "tokenCount": 258}], "candidatesTokenCount": 5, "totalTokenCount": 305},
            TokenUsage(input=300, image_input=258, output=5),
        ),
        # Cut in its thoughts: nothing was said.
        (
            {"promptTokenCount": 15, "thoughtsTokenCount": 2, "totalTokenCount": 17},
            TokenUsage(input=15, output=2, reasoning=2),
        ),
        ({"promptTokenCount": 14, "totalTokenCount": 14}, TokenUsage(input=14)),
        ({"promptTokenCount": 35, "candidatesTokenCount": 12, "totalTokenCount": 109}, TokenUsage(input=35, output=74)),
    ],
)  # fmt: skip
def test_every_count_is_in_one_bucket(reported: dict[str, Any], usage: TokenUsage) -> None:
    assert read_usage(reported) == usage


@pytest.mark.parametrize(
    "reported", [None, {}, {"trafficType": "ON_DEMAND"}, {"candidatesTokenCount": 3}, {"promptTokenCount": -1}]
)
def test_what_counts_no_prompt_is_no_usage(reported: Any) -> None:
    assert read_usage(reported) is None
