"""`add_route MODEL`: an upstream for a model."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output, read_names
from apps.upstreams import services
from apps.upstreams.route_options import add_route_options, read_route_options


class Command(OperatorCommand):
    help = "Give a model an upstream; from then on it no longer uses the simulator."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL")
        parser.add_argument("--provider", required=True, metavar="NAME")
        parser.add_argument("--dialect", required=True, metavar="D[,D]", help="In order of preference.")
        parser.add_argument("--base-url", required=True, metavar="URL", help="What the provider's own SDK takes.")
        parser.add_argument("--upstream-model", required=True, metavar="M", help="The model's name at the provider.")
        add_route_options(parser)

    def run(self, options: dict[str, Any]) -> Output:
        route = services.add_route(
            model_id=options["model"],
            provider=options["provider"],
            dialects=read_names(options["dialect"]),
            base_url=options["base_url"],
            upstream_model=options["upstream_model"],
            actor=COMMAND_LINE,
            **read_route_options(options),
        )
        return Output(data={"route_id": str(route.id)}, text=f"route {route.id}: {route}")
