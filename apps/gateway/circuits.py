"""How calls on a route ended, for its circuit; and operators told when it opens."""

from __future__ import annotations

from apps.gateway.permit import Permit
from apps.gateway.stores import Stores
from apps.upstreams.rules import RouteSnapshot


def report(stores: Stores, route: RouteSnapshot, permit: Permit, *, ok: bool, began_at: float) -> None:
    """Tell the circuit how a call ended. The caller's own mistakes are no failures."""
    stores.governor.report(route.key, ok=ok, began_at=began_at)
    if not ok:
        tell_if_open(stores, route, permit)


def tell_if_open(stores: Stores, route: RouteSnapshot, permit: Permit) -> None:
    """Tell operators of an open circuit. Looked at where a call failed or was kept away: elsewhere it is closed."""
    if stores.governor.circuit(route.key) == "open":
        stores.alerts.tell(
            "circuit_open",
            f"route {route.key}",
            f"{permit.model.model_id} via {route.provider} keeps failing: its circuit is open, and calls go elsewhere"
            f" or are refused until a probe succeeds.",
        )
