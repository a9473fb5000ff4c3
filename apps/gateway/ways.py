"""Which way a call takes on a route: what is spoken there, and the body that goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apps.catalog.cache import ModelSnapshot
from apps.dialects.passage import Passage, passages
from apps.dialects.protocol import ANTHROPIC_MESSAGES, Dialect, Request, UnsupportedField
from apps.upstreams.rules import RouteSnapshot


@dataclass(slots=True)
class Way:
    """A route, and how this call travels on it."""

    route: RouteSnapshot
    passage: Passage
    _account_tag: str
    _default_maximum: int | None
    _written: bytes | None = None
    """The body with the caller's own maximum: a translation is written early, so that what cannot be said is refused
    before anything is held."""

    def body(self, *, max_tokens: int | None) -> bytes:
        """What is sent upstream. `max_tokens`: what the hold pays for, where that is less than was asked for.

        Raises: UnsupportedField.
        """
        if self._written is None or max_tokens is not None:
            self._written = self.passage.upstream_body(
                upstream_model=self.route.upstream_model,
                max_tokens=self._default_maximum if max_tokens is None else max_tokens,
                account_tag=self._account_tag,
            )
        return self._written

    def forget_reasoning(self) -> bool:
        """Write bodies without the reasoning of earlier answers from now on; False where they had none."""
        if not self.passage.forget_reasoning():
            return False
        self._written = None
        return True


def first_way(
    routes: Sequence[RouteSnapshot], *, model: ModelSnapshot, dialect: Dialect, request: Request, account_tag: str
) -> tuple[Way, list[RouteSnapshot]]:
    """The first route on which this request can be said, and that route with all that follow it.

    Raises: InvalidRequest; UnsupportedField, as the first route has it, where it can be said on none.
    """
    refusal: UnsupportedField | None = None
    for at, route in enumerate(routes):
        try:
            way = open_way(route, model=model, dialect=dialect, request=request, account_tag=account_tag)
        except UnsupportedField as error:
            refusal = refusal or error
            continue
        return way, list(routes[at:])
    assert refusal is not None
    raise refusal


def open_way(
    route: RouteSnapshot, *, model: ModelSnapshot, dialect: Dialect, request: Request, account_tag: str
) -> Way:
    """The best way on this route: the caller's own dialect, else the first that can say the request, in the order of
    the model's preference.

    Raises: InvalidRequest, UnsupportedField.
    """
    refusal: UnsupportedField | None = None
    writes_cache = model.price.cache_write is not None
    for passage in passages(dialect, request, _preferred(route, model), writes_cache=writes_cache):
        way = Way(route, passage, account_tag, _default_maximum(passage, request, model))
        if not passage.is_translated:
            return way
        try:
            way.body(max_tokens=None)
        except UnsupportedField as error:
            refusal = refusal or error
            continue
        return way
    assert refusal is not None, "a route that speaks nothing reachable was ordered"
    raise refusal


def _preferred(route: RouteSnapshot, model: ModelSnapshot) -> list[str]:
    """What the route speaks: first what the catalog prefers for the model, then the rest in the route's own order."""
    named = [name for name in model.dialects if name in route.dialects]
    return [*named, *(name for name in route.dialects if name not in named)]


def _default_maximum(passage: Passage, request: Request, model: ModelSnapshot) -> int | None:
    """Messages must name a maximum; callers of other dialects may leave it to the model."""
    needs_one = passage.is_translated and passage.spoken == ANTHROPIC_MESSAGES and request.max_tokens is None
    return model.max_output_tokens if needs_one else None
