"""What a call used where its upstream did not say."""

from __future__ import annotations

from typing import Final

from apps.core.tokens import TokenUsage
from apps.gateway.permit import Permit

BYTES_PER_TOKEN: Final = 4
"""What a token is in bytes, about, where nobody counted: an estimate is marked as one."""


def estimate(permit: Permit, *, output_bytes: int, reported: TokenUsage | None = None) -> TokenUsage:
    """Usage of a call whose upstream never gave its final count: the prompt as reported, or counted from its bytes,
    and the output from what was received."""
    output = -(-output_bytes // BYTES_PER_TOKEN)
    if reported is not None and reported.prompt:
        return TokenUsage(
            input=reported.input,
            cache_read=reported.cache_read,
            cache_write_5m=reported.cache_write_5m,
            cache_write_1h=reported.cache_write_1h,
            output=max(output, reported.output),
            server_tool_requests=reported.server_tool_requests,
        )
    prompt = -(-permit.request.demand.text_bytes // BYTES_PER_TOKEN)
    prompt += permit.request.demand.images * permit.model.bounds.image_input_tokens
    prompt += permit.request.demand.document_pages * permit.model.bounds.document_input_tokens_per_page
    return TokenUsage(input=min(prompt, permit.model.context_tokens), output=output)
