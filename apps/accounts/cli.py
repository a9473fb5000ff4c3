"""What the operator's commands share: `--json`, amounts that stay exact, one clear line for a mistake."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from apps.accounts.mistakes import Mistake
from apps.core.money import Credits, InvalidAmount

NO_LIMIT: Final = "none"
"""What an option takes to remove a limit."""

encoder: Final = msgspec.json.Encoder(decimal_format="number")
"""Decimals (core.money.json_number) come out as bare numbers, never through a float."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a command says: one object for machines, text for people. `ok` False ends with exit code 1."""

    data: Mapping[str, object]
    text: str
    ok: bool = True


class OperatorCommand(BaseCommand):
    """A command of the operator's surface: implement `add_options` and `run`."""

    requires_system_checks: Any = ()
    mistakes: ClassVar[tuple[type[Exception], ...]] = (Mistake, InvalidAmount)
    """What ends the command with one line and exit code 1."""

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
        except CommandError as mistake:  # raised while the arguments were read: argparse would print its usage
            self.stderr.write(str(mistake))
            sys.exit(1)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.called_from_command_line = False
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print one JSON object, nothing else.")
        self.add_options(parser)

    def add_options(self, parser: CommandParser) -> None:
        """Declare what the command takes."""

    def run(self, options: dict[str, Any]) -> Output:
        """Do it.

        Raises: what `mistakes` names.
        """
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            output = self.run(options)
        except self.mistakes as mistake:
            raise CommandError(str(mistake)) from None
        except OperationalError as failure:
            raise CommandError(f"the database does not answer or is not migrated: {failure}") from failure
        self.stdout.write(encoder.encode(output.data).decode() if options["as_json"] else output.text)
        if not output.ok:
            sys.exit(1)


def read_limit(text: str) -> Credits | None:
    """An amount of credits, or None for `none`.

    Raises: InvalidAmount.
    """
    return None if text == NO_LIMIT else Credits.parse(text)


def read_count(text: str) -> int | None:
    """A whole number, or None for `none`.

    Raises: Mistake.
    """
    if text == NO_LIMIT:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Mistake(f"not a whole number: {text!r}")
    return int(text)


def read_instant(text: str) -> datetime | None:
    """An ISO 8601 instant, UTC where it names no offset; None for `none`.

    Raises: Mistake.
    """
    if text == NO_LIMIT:
        return None
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Mistake(f"not an ISO 8601 instant: {text!r}") from None


def read_names(text: str) -> list[str]:
    """`a,b` as a list; `none` as an empty one, which means all."""
    return [] if text == NO_LIMIT else [part.strip() for part in text.split(",") if part.strip()]


def lines(data: Mapping[str, object]) -> str:
    """One `name: value` per line, for people."""
    return "\n".join(f"{name}: {'-' if value is None else value}" for name, value in data.items())
