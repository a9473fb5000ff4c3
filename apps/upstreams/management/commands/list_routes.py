"""`list_routes [MODEL]`: where calls go."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output
from apps.catalog.selectors import find_model
from apps.upstreams.models import Route
from apps.upstreams.selectors import route_facts, routes_of


class Command(OperatorCommand):
    help = "Show the routes of a model, or all."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("model", nargs="?", metavar="MODEL")

    def run(self, options: dict[str, Any]) -> Output:
        model_id = find_model(options["model"]).id if options["model"] is not None else None
        routes = routes_of(model_id)
        return Output(
            data={"routes": [route_facts(route) for route in routes]},
            text="\n".join(map(_line, routes)) or "no routes: the simulator answers",
        )


def _line(route: Route) -> str:
    state = "enabled" if route.is_enabled else "disabled"
    return (
        f"{route.id}  {route.model_id}  {route.provider}  {route.base_url}  {route.upstream_model}"
        f"  priority {route.priority}  weight {route.weight}  {state}"
    )
