"""`reseal_credentials`: seal every stored credential under the newest of HYPEREAL_ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from apps.accounts.audit import COMMAND_LINE
from apps.accounts.cli import OperatorCommand, Output
from apps.upstreams import services


class Command(OperatorCommand):
    help = "Seal every stored credential under the newest encryption key, so that the older ones can go."

    def run(self, options: dict[str, Any]) -> Output:
        done = services.reseal(actor=COMMAND_LINE)
        text = f"{done.resealed} sealed anew, {done.unchanged} already under the newest key"
        if done.unreadable:
            text += f"; no key opens those of {', '.join(done.unreadable)}: give them again"
        data = {"resealed": done.resealed, "unchanged": done.unchanged, "unreadable": done.unreadable}
        return Output(data=data, text=text, ok=not done.unreadable)
