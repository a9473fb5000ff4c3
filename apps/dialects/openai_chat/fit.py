"""A caller's chat request, fit for the model behind a route that speaks chat too."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
from msgspec import Raw

from apps.dialects.common.fit import NEUTRAL, is_for_reasoner, without_sampling
from apps.dialects.common.json_body import given, read_count
from apps.dialects.protocol import Request

OLD_NAME: Final = "max_tokens"
NEW_NAME: Final = "max_completion_tokens"
SAMPLING: Final = (*NEUTRAL, "logit_bias")


def fitted(request: Request, *, upstream_model: str) -> Request:
    """See `Dialect.fitted`."""
    return without_sampling(_renamed(request, upstream_model), SAMPLING, upstream_model=upstream_model)


def _renamed(request: Request, upstream_model: str) -> Request:
    """OpenAI's reasoning models refuse the name that most clients give the maximum. Of two, the smaller one counts."""
    if request.maximum_name != NEW_NAME and not is_for_reasoner(request, upstream_model):
        return request
    if given(request.fields, OLD_NAME) is None:
        return request if request.maximum_name == NEW_NAME else replace(request, maximum_name=NEW_NAME)
    maxima = [value for name in (OLD_NAME, NEW_NAME) if (value := read_count(request.fields, name)) is not None]
    fields = {(NEW_NAME if name == OLD_NAME else name): value for name, value in request.fields.items()}
    fields[NEW_NAME] = Raw(msgspec.json.encode(min(maxima)))
    return replace(
        request,
        fields=fields,
        maximum_name=NEW_NAME,
        adapted=(*request.adapted, f"{OLD_NAME}: sent as {NEW_NAME}"),
    )
