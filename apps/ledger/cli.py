"""What the commands that move money share: how they read a reference, and how they tell what moved."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from apps.accounts.cli import OperatorCommand, Output
from apps.accounts.mistakes import Mistake, clean_line
from apps.core.money import json_number
from apps.ledger import services


class MoneyCommand(OperatorCommand):
    """A command that books something once per `--reference`."""

    mistakes: ClassVar[tuple[type[Exception], ...]] = (*OperatorCommand.mistakes, services.BadMovement)

    def add_reference(self, parser: CommandParser, help_text: str) -> None:
        parser.add_argument("--reference", required=True, metavar="REF", help=help_text)


def read_reference(options: dict[str, Any]) -> str:
    """Raises: Mistake."""
    return clean_line(options["reference"], "the reference", most=services.MAX_REFERENCE_LENGTH)


def read_reason(options: dict[str, Any], *, is_needed: bool = False) -> str:
    """Raises: Mistake."""
    if options["reason"] is None:
        if is_needed:
            raise Mistake("the reason is empty")
        return ""
    return clean_line(options["reason"], "the reason", most=services.MAX_REASON_LENGTH)


def movement_output(account_name: str, movement: services.Movement, **more: object) -> Output:
    """What moved, for machines and for people."""
    repeated = " (repeated: nothing moved again)" if movement.repeated else ""
    owed = f", {movement.owed} credits are owed: the account is frozen" if movement.owed else ""
    return Output(
        data={
            "entry_id": str(movement.entry_id),
            "balance_before": json_number(movement.balance_before.micro),
            "balance_after": json_number(movement.balance_after.micro),
            "repeated": movement.repeated,
            **more,
        },
        text=f"{account_name}: {movement.balance_before} -> {movement.balance_after} credits{owed}{repeated}",
    )
