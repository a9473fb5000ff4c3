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


async def show_models(call: Call, query: bytes, send: Send, stores: Stores) -> None:
    """Raises: GatewayError."""
    key = await _identified(call, stores)
    models = [model for model in stores.catalog.all() if _may_see(key, model)]
    if not call.is_anthropic:
        listed = listing.openai_list(models)
    else:
        listed = listing.paged_list(models, listing.read_page(query), show=_shape(call))
        if _is_managed(call):
            listed["object"] = "list"
    await _send(call, listed, send)


async def show_model(call: Call, send: Send, stores: Stores) -> None:
    """One model, in the shape of the list.

    Raises: GatewayError; NotFound for a model outside of the key's scope, too.
    """
    key = await _identified(call, stores)
    prefix = next(path for path in ONE if call.path.startswith(path))
    model_id = call.path.removeprefix(prefix)
    model = stores.catalog.get(model_id)
    if model is None or not _may_see(key, model):
        raise model_not_found(model_id)
    await _send(call, _shape(call)(model), send)


async def _identified(call: Call, stores: Stores) -> KeySnapshot:
    key = await identify(call, stores)
    check_key(key, client=read_client(call), now=call.received_at)
    return key


def _may_see(key: KeySnapshot, model: ModelSnapshot) -> bool:
    return not key.allowed_models or model.model_id in key.allowed_models


def _shape(call: Call) -> listing.Show:
    """Anthropic's for whoever sends `anthropic-version`, added to OpenAI's on the managed paths; else OpenAI's."""
    if not call.is_anthropic:
        return listing.openai_model
    return listing.both if _is_managed(call) else listing.anthropic_model


def _is_managed(call: Call) -> bool:
    return call.path.startswith(PATHS[0])


async def _send(call: Call, shown: dict[str, Any], send: Send) -> None:
    head = [respond.JSON, *respond.request_headers(call)]
    body = listing.encode(shown)
    await respond.send_reply(send, status=200, head=head, body=b"" if call.method == "HEAD" else body)
