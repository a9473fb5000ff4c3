"""What a model refuses of its own dialect: clients send every model the fields that most take, and OpenAI's reasoning
models refuse whole requests for one of them. Untouched requests are fitted here; translated ones by their writers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.json_body import UNREADABLE, is_null
from apps.dialects.common.openai_models import is_reasoner
from apps.dialects.protocol import Request

NEUTRAL: Final = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
"""Values that change nothing, and that every model takes."""


def is_for_reasoner(request: Request, upstream_model: str) -> bool:
    """By the provider's name for the model, or by ours: a deployment may be called anything."""
    return is_reasoner(upstream_model) or is_reasoner(request.model_id)


def without_sampling(request: Request, names: Collection[str], *, upstream_model: str) -> Request:
    """The request without those of `names` that ask a reasoning model to sample in another way than its own; the same
    object where there are none. What is left out is named in `adapted`."""
    if not is_for_reasoner(request, upstream_model):
        return request
    left_out = [name for name in names if name in request.fields and not _is_neutral(name, request.fields[name])]
    if not left_out:
        return request
    return replace(
        request,
        fields={name: value for name, value in request.fields.items() if name not in left_out},
        adapted=(*request.adapted, *(f"{name}: left out" for name in left_out)),
    )


def _is_neutral(name: str, raw: Raw) -> bool:
    """Null is what is not there; what is no value for this field, the upstream shall refuse."""
    if is_null(raw):
        return True
    try:
        value = msgspec.json.decode(raw)
    except UNREADABLE:
        return True
    return isinstance(value, str) or value == NEUTRAL.get(name)
