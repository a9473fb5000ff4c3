"""`set_key KEY_ID`: what a key may do from now on."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output, lines
from apps.keys import services
from apps.keys.options import add_key_options, read_key_options
from apps.keys.selectors import find_key, key_settings


class Command(OperatorCommand):
    help = "Change a key's limits, or show them; `none` removes a limit."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("key", metavar="KEY_ID")
        add_key_options(parser)

    def run(self, options: dict[str, Any]) -> Output:
        key = find_key(options["key"])
        changed = services.set_key(key_id=key.id, actor=COMMAND_LINE, **read_key_options(options))
        settings = key_settings(changed)
        return Output(data=settings, text=lines(settings))
