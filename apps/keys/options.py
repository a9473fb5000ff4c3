"""What `issue_key` and `set_key` take, read into the changes that the services know."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from apps.accounts.cli import NO_LIMIT, read_count, read_instant, read_limit, read_names
from apps.keys.selectors import KeyMistake
from apps.keys.services import KeyChanges, ModelCap


def add_key_options(parser: CommandParser) -> None:
    parser.add_argument("--name", metavar="S")
    parser.add_argument("--models", metavar="a,b", help="The only models it may call, or none for all.")
    parser.add_argument("--limit", metavar="C", help="Credits in its lifetime, or none.")
    parser.add_argument("--daily", metavar="C", help="Credits per day (UTC), or none.")
    parser.add_argument("--hourly", metavar="C", help="Credits per hour, or none.")
    parser.add_argument("--rpm", metavar="N", help="Requests per minute, or none.")
    parser.add_argument(
        "--model-limit",
        metavar="MODEL=C[:RPM]",
        action="append",
        default=[],
        help="Lifetime credits (or none) and requests per minute on one model; MODEL=none removes them.",
    )
    parser.add_argument(
        "--allow-ip", metavar="CIDR", action="append", default=[], help="A network it may call from, or none for all."
    )
    parser.add_argument("--expires", metavar="ISO", help="When it ends (UTC, unless the text says otherwise), or none.")


def read_key_options(options: dict[str, Any]) -> KeyChanges:
    """The changes that the options ask for.

    Raises: KeyMistake, Mistake, InvalidAmount.
    """
    changes: KeyChanges = {}
    if options["name"] is not None:
        changes["name"] = options["name"]
    if options["models"] is not None:
        changes["allowed_models"] = read_names(options["models"])
        if not changes["allowed_models"] and options["models"] != NO_LIMIT:
            raise KeyMistake("--models names no model: use none for all")
    if options["limit"] is not None:
        changes["limit"] = read_limit(options["limit"])
    if options["daily"] is not None:
        changes["daily_budget"] = read_limit(options["daily"])
    if options["hourly"] is not None:
        changes["hourly_budget"] = read_limit(options["hourly"])
    if options["rpm"] is not None:
        changes["rpm_limit"] = read_count(options["rpm"])
    if options["expires"] is not None:
        changes["expires_at"] = read_instant(options["expires"])
    if options["allow_ip"]:
        changes["allowed_networks"] = [] if options["allow_ip"] == [NO_LIMIT] else options["allow_ip"]
    if options["model_limit"]:
        changes["model_caps"] = dict(read_cap(text) for text in options["model_limit"])
    return changes


def read_cap(text: str) -> tuple[str, ModelCap | None]:
    """`gpt-5-5=500:60` as a model and what the key may do with it; `gpt-5-5=none` removes that.

    Raises: KeyMistake, Mistake, InvalidAmount.
    """
    model_id, equals, figures = text.partition("=")
    if not model_id or not equals or not figures:
        raise KeyMistake(f"--model-limit takes MODEL=C[:RPM], not {text!r}")
    if figures == NO_LIMIT:
        return model_id, None
    amount, colon, rpm = figures.partition(":")
    return model_id, ModelCap(limit=read_limit(amount), rpm=read_count(rpm) if colon else None)
