"""`remove_route ROUTE_ID`: a model without routes uses the simulator again."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.upstreams import services
from apps.upstreams.selectors import find_route


class Command(OperatorCommand):
    help = "Remove a route."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("route", metavar="ROUTE_ID")

    def run(self, options: dict[str, Any]) -> Output:
        route = find_route(options["route"])
        services.remove_route(route_id=route.id, actor=COMMAND_LINE)
        return Output(data={"route_id": str(route.id), "removed": True}, text=f"removed {route}")
