"""What a call may do and what it asks for: scope, bounds, limits. Nothing is reserved yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from apps.accounts.cache import AccountSnapshot
from apps.catalog.cache import ModelSnapshot
from apps.catalog.pricing import Price, modified
from apps.catalog.rules import Worth, image_tokens, input_bound, text_bound, worth, worth_of_images
from apps.core import headers
from apps.core.errors import GatewayError
from apps.dialects.common.caching import with_caching
from apps.dialects.common.refused import Why, refuse, refuse_modifier
from apps.dialects.passage import reachable
from apps.dialects.protocol import Dialect, InvalidRequest, Request, State, UnsupportedField
from apps.dialects.registry import DIALECTS, UPSTREAMS
from apps.gateway.call import Call, NotFound
from apps.gateway.state import stateful, stored_tokens
from apps.gateway.stores import Stores
from apps.gateway.ways import Way, first_way
from apps.governor.store.protocol import Ask
from apps.keys.rules import Client, KeyRefused, KeySnapshot, check_key, check_model
from apps.ledger.operations import Guard
from apps.ledger.rules import DAILY, HOURLY, LIFETIME
from apps.upstreams.rules import RouteSnapshot, order
from apps.upstreams.states import Kept

MAX_SESSION_ID_LENGTH = 200
FIELD_BYTES = 40
"""What `, "max_completion_tokens": 128000` adds to a body."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A permitted call: everything that the following steps need to know of it."""

    key: KeySnapshot
    account: AccountSnapshot
    model: ModelSnapshot
    request: Request
    dialect: Dialect
    routes: list[RouteSnapshot]
    """In the order to try them; never empty."""
    way: Way
    """How the call travels on the first of them."""
    price: Price
    worth: Worth
    writes_1h: bool
    session_id: str
    is_strict: bool
    """The caller would rather be refused than have its `max_tokens` lowered."""


def permit(
    call: Call,
    request: Request,
    *,
    key: KeySnapshot,
    client: Client,
    dialect: Dialect,
    writes_1h: bool,
    found: Mapping[State, Kept],
    stores: Stores,
) -> Permit:
    """Check key, model and request against each other. `writes_1h`: the body asks for cache writes of an hour;
    `found`: what it builds on that a provider keeps.

    Raises: KeyRefused, NotFound, InvalidRequest, UnsupportedField, UnknownState.
    """
    account, model = check_call(call, request, key=key, client=client, stores=stores)
    if request.demand.server_tool_uses and model.price.server_tool_request is None:
        raise UnsupportedField(f"{model.model_id} has no price for server tools.", param="tools")
    if request.demand.audio_parts and model.bounds.audio_input_tokens is None:
        raise refuse(request.demand.audio_field, Why.UNPRICED_KIND)
    if request.makes_images and "image" not in model.output_modalities:
        raise UnsupportedField(f"{model.model_id} makes no images.", param="modalities")
    price, request = _price(model, request)
    session_id = read_session_id(call, request)
    request = with_caching(
        request,
        is_asked=call.headers.get(headers.CACHE, b"").lower() == b"true",
        session_id=session_id,
        writes_cache=model.price.cache_write is not None,
    )
    routes = stores.routes.of(model.model_id, dialects=model.dialects)
    if found or request.wants_storing:
        routes = stateful(routes, request, found, dialect=dialect)
        request = replace(request, demand=replace(request.demand, stored_tokens=stored_tokens(found)))
    spread = stores.draws.getrandbits(32) if len(routes) > 1 else 0
    ordered = order(
        routes, dialect=dialect.name, reachable=reachable(dialect.name), session_id=session_id, spread=spread
    )
    if request.modifiers:
        # What changes the price must arrive as it was said.
        ordered = [route for route in ordered if dialect.name in route.dialects]
    if not ordered:
        raise _unreachable(model, routes)
    worst = bound(model, request, price=price, writes_1h=writes_1h)
    is_strict = call.headers.get(headers.STRICT_MAX_TOKENS, b"").lower() == b"true"
    if is_strict and worst.asked_output > worst.wanted_output:
        raise InvalidRequest(f"{model.model_id} writes {worst.wanted_output} tokens at most.", param="max_tokens")
    way, able = first_way(ordered, model=model, dialect=dialect, request=request, account_tag=account.account_id.hex)
    return Permit(
        key=key,
        account=account,
        model=model,
        request=request,
        dialect=dialect,
        routes=able,
        way=way,
        price=price,
        worth=worst,
        writes_1h=writes_1h,
        session_id=session_id,
        is_strict=is_strict,
    )


def check_call(
    call: Call, request: Request, *, key: KeySnapshot, client: Client, stores: Stores
) -> tuple[AccountSnapshot, ModelSnapshot]:
    """Whether this key may call this model at all.

    Raises: KeyRefused, NotFound.
    """
    account = stores.accounts.get(key.account_id)
    if account is None or account.is_frozen:
        raise KeyRefused("account_frozen", "This account is frozen. Ask its operator.")
    check_key(key, client=client, now=call.received_at)
    model = stores.catalog.get(request.model_id)
    if model is None:
        raise model_not_found(request.model_id)
    check_model(key, model_id=model.model_id)
    return account, model


def model_not_found(model_id: str) -> NotFound:
    message = f"There is no model {model_id!r}. GET /v1/managed/models lists them."
    return NotFound("model_not_found", message, param="model")


def _price(model: ModelSnapshot, request: Request) -> tuple[Price, Request]:
    """What this call is charged by, and the request with what the catalog adds to it.

    Raises: UnsupportedField, for a price modifier that nobody priced for this model.
    """
    if model.max_tokens_field not in ("", request.maximum_name):
        request = replace(request, maximum_name=model.max_tokens_field)
    if not request.modifiers:
        return model.price, request
    factors, notes = model.price.modifiers, list(request.adapted)
    for modifier in request.modifiers:
        factor = factors.get(modifier.name)
        if factor is None:
            raise refuse_modifier(modifier)
        # So that the bill can be made again from its record.
        notes.append(f"{modifier.name}: at {Decimal(factor) / 1_000} x the price")
    price = modified(model.price, [modifier.name for modifier in request.modifiers])
    return price, replace(request, adapted=tuple(notes))


def bound(
    model: ModelSnapshot, request: Request, *, price: Price, writes_1h: bool, counted_tokens: int | None = None
) -> Worth:
    """The most this call can cost, and the least it is worth starting with; `counted_tokens`: what a tokenizer says of
    its text."""
    demand, bounds = request.demand, model.bounds
    text_tokens = text_bound(bounds, text_bytes=demand.text_bytes, counted_tokens=counted_tokens)
    input_tokens = input_bound(
        bounds,
        text_tokens=text_tokens,
        images=demand.images,
        document_pages=demand.document_pages,
        audio_parts=demand.audio_parts,
        stored_tokens=demand.stored_tokens,
        server_tool_uses=demand.server_tool_uses,
        context_tokens=model.context_tokens,
    )
    if model.max_output_tokens is None:
        return worth_of_images(
            price,
            input_tokens=input_tokens,
            output_tokens_per_image=image_tokens(bounds, request.image_size, drafts=request.drafts),
            n=request.n,
        )
    thinking_budget = request.thinking_budget
    if request.makes_images:
        # An image is drawn whole or not at all: it counts into the least, as thinking does.
        thinking_budget = (thinking_budget or 0) + image_tokens(bounds, request.image_size)
    return worth(
        price,
        input_tokens=input_tokens,
        writes_1h=writes_1h,
        server_tool_uses=demand.server_tool_uses,
        n=request.n,
        most_output_tokens=model.max_output_tokens,
        caller_max_tokens=request.max_tokens,
        thinking_budget=thinking_budget,
        unbounded_tokens=bounds.reasoning_tokens + _raised_tokens(model, request),
        field_tokens=text_bound(bounds, text_bytes=FIELD_BYTES),
        text_tokens=text_tokens,
    )


def _raised_tokens(model: ModelSnapshot, request: Request) -> int:
    """What a translation may add to a maximum that is too small to be said in an upstream's dialect."""
    if request.max_tokens is None:
        return 0
    least = max((UPSTREAMS[name].least_maximum for name in model.dialects if name in UPSTREAMS), default=0)
    return max(0, least - request.max_tokens)


def read_session_id(call: Call, request: Request) -> str:
    """The session that keeps a call on one route: from any of the headers clients use, else the cache key."""
    for name in headers.SESSION_HEADERS:
        value = call.headers.get(name)
        if value:
            text = value.decode("latin-1")[:MAX_SESSION_ID_LENGTH]
            return text if text.isprintable() else ""
    return (request.cache_key or "")[:MAX_SESSION_ID_LENGTH]


def ask_capacity(permit: Permit) -> Ask:
    """What the governor is asked for."""
    key, model = permit.key, permit.model
    model_limit = key.model_limits.get(model.model_id)
    return Ask(
        account_id=key.account_id,
        key_id=key.key_id,
        model_id=model.model_id,
        capacity=model.capacity,
        account_rpm=permit.account.rpm_limit,
        key_rpm=key.rpm_limit,
        key_model_rpm=model_limit.rpm_limit if model_limit is not None else None,
        tokens=permit.worth.expected_tokens,
        images=permit.request.n if model.max_output_tokens is None or permit.request.makes_images else 0,
    )


def guards_of(permit: Permit) -> tuple[Guard, ...]:
    """Every limit that the hold must fit, beside the balance."""
    key, model_id = permit.key, permit.model.model_id
    guards = []
    scope = f"key:{key.key_id}"
    if key.limit_micro is not None:
        guards.append(Guard(scope, LIFETIME, key.limit_micro, "key_limit_exhausted"))
    model_limit = key.model_limits.get(model_id)
    if model_limit is not None and model_limit.limit_micro is not None:
        guards.append(Guard(f"{scope}:{model_id}", LIFETIME, model_limit.limit_micro, "key_model_limit_exhausted"))
    if key.daily_budget_micro is not None:
        guards.append(Guard(scope, DAILY, key.daily_budget_micro, "key_budget_exhausted"))
    if key.hourly_budget_micro is not None:
        guards.append(Guard(scope, HOURLY, key.hourly_budget_micro, "key_budget_exhausted"))
    if permit.account.daily_budget_micro is not None:
        guards.append(Guard("account", DAILY, permit.account.daily_budget_micro, "account_budget_exhausted"))
    return tuple(guards)


def _unreachable(model: ModelSnapshot, routes: list[RouteSnapshot]) -> GatewayError:
    """No upstream is enabled, or none can be reached from this endpoint: images are not translated."""
    if not routes:
        return GatewayError("upstream_overloaded", f"{model.model_id} has no enabled upstream right now.")
    spoken = {dialect for route in routes for dialect in route.dialects}
    endpoints = [dialect.endpoint for name, dialect in DIALECTS.items() if not reachable(name).isdisjoint(spoken)]
    return InvalidRequest(
        f"{model.model_id} is not served on this endpoint. Call it on: {', '.join(endpoints)}.", param="model"
    )
