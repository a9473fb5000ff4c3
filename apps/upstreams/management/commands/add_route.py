"""`add_route MODEL`: an upstream for a model."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output, read_names
from apps.upstreams import services


class Command(OperatorCommand):
    help = "Give a model an upstream; from then on it no longer uses the simulator."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("model", metavar="MODEL")
        parser.add_argument("--provider", required=True, metavar="NAME")
        parser.add_argument("--dialect", required=True, metavar="D[,D]", help="In order of preference.")
        parser.add_argument("--base-url", required=True, metavar="URL", help="What the provider's own SDK takes.")
        parser.add_argument("--upstream-model", required=True, metavar="M", help="The model's name at the provider.")
        parser.add_argument("--credential-env", metavar="VAR", default="", help="The variable with the credential.")
        parser.add_argument("--weight", type=int, metavar="N")
        parser.add_argument("--priority", type=int, metavar="N", help="Lower is tried first.")

    def run(self, options: dict[str, Any]) -> Output:
        chosen: services.RouteOptions = {"credential_env": options["credential_env"]}
        if options["weight"] is not None:
            chosen["weight"] = options["weight"]
        if options["priority"] is not None:
            chosen["priority"] = options["priority"]
        route = services.add_route(
            model_id=options["model"],
            provider=options["provider"],
            dialects=read_names(options["dialect"]),
            base_url=options["base_url"],
            upstream_model=options["upstream_model"],
            actor=COMMAND_LINE,
            **chosen,
        )
        return Output(data={"route_id": str(route.id)}, text=f"route {route.id}: {route}")
