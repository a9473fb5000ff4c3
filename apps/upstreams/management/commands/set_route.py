"""`set_route ROUTE_ID`: change an upstream."""

from __future__ import annotations

from typing import Any, cast

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output, lines
from apps.upstreams import services
from apps.upstreams.route_options import add_route_options, read_route_options
from apps.upstreams.selectors import find_route, route_facts


class Command(OperatorCommand):
    help = "Change a route, or show it."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("route", metavar="ROUTE_ID")
        state = parser.add_mutually_exclusive_group()
        state.add_argument("--enable", action="store_true")
        state.add_argument("--disable", action="store_true")
        add_route_options(parser)
        shown = parser.add_mutually_exclusive_group()
        shown.add_argument("--expose-model", action="store_true", help="Replies show the upstream's model name.")
        shown.add_argument("--hide-model", action="store_true", help="Replies show the catalog id.")
        kept = parser.add_mutually_exclusive_group()
        kept.add_argument("--keep-state", action="store_true", help="Callers may have replies stored there.")
        kept.add_argument("--no-keep-state", action="store_true", help="Replies are never stored (the default).")

    def run(self, options: dict[str, Any]) -> Output:
        route = find_route(options["route"])
        changes = cast(services.RouteChanges, read_route_options(options))
        if options["enable"] or options["disable"]:
            changes["is_enabled"] = options["enable"]
        if options["expose_model"] or options["hide_model"]:
            changes["exposes_model"] = options["expose_model"]
        if options["keep_state"] or options["no_keep_state"]:
            changes["keeps_state"] = options["keep_state"]
        facts = route_facts(services.set_route(route_id=route.id, actor=COMMAND_LINE, **changes))
        return Output(data=facts, text=lines(facts))
