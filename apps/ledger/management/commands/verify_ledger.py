"""`verify_ledger`: proves the ledger, or names the first offenders and exits 1."""

from __future__ import annotations

from typing import Any

from apps.accounts.cli import OperatorCommand, Output
from apps.ledger.verify import verify_ledger


class Command(OperatorCommand):
    help = "Prove the ledger: chains unbroken, balances equal to their entries, no hold past its expiry."

    def run(self, options: dict[str, Any]) -> Output:
        report = verify_ledger()
        is_sound = not report.problems
        counts = f"{report.accounts} accounts, {report.entries} entries"
        if report.journalled:
            counts += f", {report.journalled} settlements wait in journals"
        return Output(
            data={
                "ok": is_sound,
                "accounts": report.accounts,
                "entries": report.entries,
                "problems": report.problems,
            },
            text="\n".join([f"ledger {'is sound' if is_sound else 'has problems'}: {counts}", *report.problems]),
            ok=is_sound,
        )
