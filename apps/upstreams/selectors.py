"""Reads about routes. A credential is never among them."""

from __future__ import annotations

import uuid

from apps.upstreams.credential_text import RouteMistake
from apps.upstreams.models import Route


def find_route(text: str) -> Route:
    """The route with this id.

    Raises: RouteMistake, where there is none.
    """
    try:
        route = Route.objects.filter(id=uuid.UUID(text)).first()
    except ValueError:
        route = None
    if route is None:
        raise RouteMistake(f"no route with the id {text!r}")
    return route


def routes_of(model_id: str | None = None) -> list[Route]:
    """A model's routes, or all, in the order they are tried."""
    routes = Route.objects.all() if model_id is None else Route.objects.filter(model_id=model_id)
    return list(routes.order_by("model_id", "priority", "created_at"))


def route_facts(route: Route) -> dict[str, object]:
    """A route as `list_routes --json` prints it."""
    return {
        "route_id": str(route.id),
        "model": route.model_id,
        "provider": route.provider,
        "dialects": route.dialects,
        "base_url": route.base_url,
        "upstream_model": route.upstream_model,
        "credential_env": route.credential_env or None,
        "credential_file": route.credential_file or None,
        "has_stored_credential": bool(route.credential_sealed),
        "weight": route.weight,
        "priority": route.priority,
        "enabled": route.is_enabled,
        "exposes_model": route.exposes_model,
        "keeps_state": route.keeps_state,
        "connect_timeout_ms": route.connect_timeout_ms,
        "first_byte_timeout_ms": route.first_byte_timeout_ms,
        "idle_timeout_ms": route.idle_timeout_ms,
        "total_timeout_ms": route.total_timeout_ms,
    }
