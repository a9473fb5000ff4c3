"""What `add_route` and `set_route` take alike."""

from __future__ import annotations

import getpass
import sys
from typing import Any, Final

from django.core.management.base import CommandParser

from apps.accounts.cli import NO_LIMIT
from apps.upstreams import services
from apps.upstreams.credential_text import MAX_BYTES, RouteMistake

DEADLINES: Final = {
    "connect_timeout_ms": "For a connection to be made.",
    "first_byte_timeout_ms": "For the reply to begin.",
    "idle_timeout_ms": "For silence within the reply.",
    "total_timeout_ms": "For the whole call, further attempts included.",
}


def add_route_options(parser: CommandParser) -> None:
    parser.add_argument("--weight", type=int, metavar="N")
    parser.add_argument("--priority", type=int, metavar="N", help="Lower is tried first.")
    for name, meaning in DEADLINES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=meaning)
    credential = parser.add_mutually_exclusive_group()
    credential.add_argument("--credential-env", metavar="VAR", help="The variable with the credential, or none.")
    credential.add_argument(
        "--credential-file",
        metavar="PATH",
        help="A file with the credential, read again when it changes; in HYPEREAL_CREDENTIAL_DIR. Or none.",
    )
    credential.add_argument(
        "--credential-stdin", action="store_true", help="Read the credential from standard input, and store it sealed."
    )


def read_route_options(options: dict[str, Any]) -> services.RouteOptions:
    """What was chosen.

    Raises: RouteMistake, where standard input has no credential.
    """
    chosen: services.RouteOptions = {}
    if options["weight"] is not None:
        chosen["weight"] = options["weight"]
    if options["priority"] is not None:
        chosen["priority"] = options["priority"]
    for name in services.TIMEOUTS:
        if options[name] is not None:
            chosen[name] = options[name]
    if options["credential_env"] is not None:
        chosen["credential_env"] = "" if options["credential_env"] == NO_LIMIT else options["credential_env"]
    if options["credential_file"] is not None:
        chosen["credential_file"] = "" if options["credential_file"] == NO_LIMIT else options["credential_file"]
    if options["credential_stdin"]:
        chosen["credential"] = _read_credential()
    return chosen


def _read_credential() -> str:
    """From standard input: never an argument, which every user of the machine can read while the command runs."""
    text = getpass.getpass("Credential: ") if sys.stdin.isatty() else sys.stdin.read(MAX_BYTES + 2)
    if not text.strip():
        raise RouteMistake("standard input has no credential")
    return text
