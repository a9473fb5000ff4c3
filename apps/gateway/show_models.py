"""`GET …/models` and `GET …/models/{id}`: the catalog as far as the key may call it."""

from __future__ import annotations

from typing import Any, Final

from apps.catalog.cache import ModelSnapshot
from apps.gateway import listing, respond
from apps.gateway.call import Call, Send
from apps.gateway.identify import identify, read_client
from apps.gateway.permit import model_not_found
from apps.gateway.stores import Stores
from apps.keys.rules import KeySnapshot, check_key

PATHS: Final = ("/v1/managed/models", "/v1/models")
ONE: Final = tuple(f"{path}/" for path in PATHS)
"""What a model's id is appended to."""


async def show(call: Call, query: bytes, send: Send, stores: Stores) -> None:
    """Answer one look-up: the list, or one model of it.

    Raises: GatewayError; NotFound for a model outside of the key's scope, too.
    """
    key = await identify(call, stores)
    check_key(key, client=read_client(call), now=call.received_at)
    if call.path in PATHS:
        shown = _listed(call, query, [model for model in stores.catalog.all() if _may_see(key, model)])
    else:
        model_id = call.path.removeprefix(next(path for path in ONE if call.path.startswith(path)))
        model = stores.catalog.get(model_id)
        if model is None or not _may_see(key, model):
            raise model_not_found(model_id)
        shown = _shape(call)(model)
    body = b"" if call.method == "HEAD" else listing.encode(shown)
    await respond.send_reply(send, status=200, head=[respond.JSON, *respond.request_headers(call)], body=body)


def _listed(call: Call, query: bytes, models: list[ModelSnapshot]) -> dict[str, Any]:
    if not call.is_anthropic:
        return listing.openai_list(models)
    listed = listing.paged_list(models, listing.read_page(query), show=_shape(call))
    return {"object": "list", **listed} if _is_managed(call) else listed


def _may_see(key: KeySnapshot, model: ModelSnapshot) -> bool:
    return not key.allowed_models or model.model_id in key.allowed_models


def _shape(call: Call) -> listing.Show:
    """Anthropic's for whoever sends `anthropic-version`, added to OpenAI's on the managed paths; else OpenAI's."""
    if not call.is_anthropic:
        return listing.openai_model
    return listing.both if _is_managed(call) else listing.anthropic_model


def _is_managed(call: Call) -> bool:
    return call.path.startswith(PATHS[0])
