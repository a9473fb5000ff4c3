"""The operator's page of an account's statement: shown by its totals, downloaded with every entry."""

from __future__ import annotations

from datetime import UTC
from itertools import islice
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from apps.accounts.admin_forms import choice_field, credits_text, form_page, text_field
from apps.accounts.cli import encoder
from apps.accounts.mistakes import Mistake
from apps.accounts.models import Account
from apps.core import clock
from apps.ledger import statements
from apps.ledger.statements import Period, Statement

MAX_LINES: Final = 50_000
"""Entries that one page sends; more than that is for the command."""


class StatementForm(forms.Form):
    month = text_field("Month (UTC)", help_text="Like 2026-11.", max_length=7)
    form = choice_field("As", [("page", "Totals on this page"), ("csv", "CSV of all entries"), ("json", "JSON")])

    def clean_month(self) -> Period:
        try:
            return statements.month(self.cleaned_data["month"])
        except Mistake as mistake:
            raise ValidationError(str(mistake)) from None


def statement_page(model_admin: Any, request: HttpRequest, account: Account) -> HttpResponse:
    """Show this month's totals, or another's; or send its entries as a file."""
    current = f"{clock.now().astimezone(UTC):%Y-%m}"
    form = StatementForm(request.POST or None, initial={"month": current})
    period, shown_as = statements.month(current), "page"
    if form.is_valid():
        period, shown_as = form.cleaned_data["month"], form.cleaned_data["form"]
    statement = statements.make_statement(account.id, period)
    if shown_as != "page":
        if statement.last_seq - statement.after_seq <= MAX_LINES:
            return _file(account, statement, shown_as)
        form.add_error(None, f"More than {MAX_LINES:,} entries: use the command `statement {account.name} --csv`.")
    name = f"{period.starts_at:%B %Y}"
    return form_page(
        model_admin,
        request,
        row=account,
        form=form,
        title=f"Statement: {account.name}, {name}",
        submit="Show",
        facts=_facts(statement),
    )


def _facts(statement: Statement) -> dict[str, str]:
    facts = {"Opening balance": credits_text(statement.opening.micro)}
    for total in statement.totals:
        beside = f", beside the balance {credits_text(total.beside.micro)}" if total.beside else ""
        facts[f"{total.kind} ({total.entries})"] = credits_text(total.credits.micro) + beside
    facts["Closing balance"] = credits_text(statement.closing.micro)
    for model in statement.models:
        facts[f"charged for {model.model_id or 'calls no longer logged'} ({model.calls})"] = credits_text(
            model.credits.micro
        )
    return facts


def _file(account: Account, statement: Statement, shown_as: str) -> HttpResponse:
    name = f"statement-{account.id}-{statement.period.starts_at:%Y-%m}.{shown_as}"
    if shown_as == "csv":
        content, content_type = "".join(statements.csv_rows(statement)).encode(), "text/csv; charset=utf-8"
    else:
        lines = islice(statements.statement_lines(statement), MAX_LINES)
        entries = [statements.line_facts(line) for line in lines]
        facts = {"name": account.name, **statements.statement_facts(statement), "entries": entries}
        content, content_type = encoder.encode(facts), "application/json"
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
