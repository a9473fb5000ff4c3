"""Statements: what one ends with the next begins with, and in between every entry is told."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Account
from apps.core.ids import new_id, show_request_id
from apps.core.money import Credits
from apps.ledger import services
from apps.ledger.models import Entry
from apps.ledger.operations import Hold
from apps.ledger.statements import (
    BadPeriod,
    KindTotal,
    ModelTotal,
    between,
    csv_rows,
    line_facts,
    make_statement,
    month,
    statement_lines,
    statement_page,
)
from apps.ledger.store import orm
from apps.usage.models import UsageRecord
from tests.ledger.contract import Payer, open_payer, unprotect_entries

OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, number, 1, tzinfo=UTC) for number in (10, 11, 12))
JUST_BEFORE = timedelta(microseconds=1)


def date_entries(payer: Payer, *moments: datetime) -> None:
    """Let the account's entries have been made then: only the owner of the database can do that."""
    unprotect_entries()
    entries = list(Entry.objects.filter(account_id=payer.account_id).order_by("seq"))
    for entry, moment in zip(entries, moments, strict=True):
        Entry.objects.filter(id=entry.id).update(created_at=moment)


def charge(payer: Payer, amount: int, *, model_id: str = "claude-sonnet-4-7", quote: int | None = None) -> Hold:
    asked = Hold(new_id(), payer.account_id, payer.key_id, model_id, payer.process_id, amount, amount)
    orm.commit([asked])
    orm.commit([payer.settle(asked, amount if quote is None else quote)])
    return asked


@pytest.fixture
def bob(ledger_db: None) -> Payer:
    """Three months of an account: 2,000 in October, calls of two models in November, more in December."""
    bob = open_payer("bob", credits_micro=2_000)
    charge(bob, 300)
    charge(bob, 50, model_id="gpt-5-5")
    refunded = charge(bob, 150)
    services.refund(account_id=bob.account_id, request_id=refunded.request_id, reference="r", actor="olga")
    services.correct(account_id=bob.account_id, amount=Credits(-100), reason="=1+1", reference="-c", actor="olga")
    services.grant(account_id=bob.account_id, amount=Credits(70), reference="hello", actor="olga")
    charge(bob, 1_770, quote=1_800)
    date_entries(
        bob,
        NOVEMBER - JUST_BEFORE,  # top_up 2,000
        NOVEMBER,  # charge 300
        NOVEMBER + timedelta(days=3),  # charge 50
        NOVEMBER + timedelta(days=3),  # charge 150
        NOVEMBER + timedelta(days=20),  # refund 150
        DECEMBER - JUST_BEFORE,  # correction -100
        DECEMBER,  # grant 70
        DECEMBER + timedelta(days=1),  # charge 1,620
        DECEMBER + timedelta(days=1),  # absorbed 180
    )
    return bob


def test_a_month_opens_with_what_the_one_before_closed_with(bob: Payer) -> None:
    october, november, december = (make_statement(bob.account_id, month(f"2026-{number}")) for number in (10, 11, 12))
    assert (october.opening, october.closing) == (Credits(0), Credits(2_000))
    assert (november.opening, november.closing) == (Credits(2_000), Credits(1_550))
    assert (december.opening, december.closing) == (Credits(1_550), Credits(0))
    assert [line.entry.seq for line in statement_lines(november)] == [2, 3, 4, 5, 6]


def test_opening_and_totals_add_up_to_closing(bob: Payer) -> None:
    november = make_statement(bob.account_id, month("2026-11"))
    assert november.totals == [
        KindTotal("charge", 3, Credits(-500), Credits(0)),
        KindTotal("correction", 1, Credits(-100), Credits(0)),
        KindTotal("refund", 1, Credits(150), Credits(0)),
    ]
    december = make_statement(bob.account_id, month("2026-12"))
    assert december.totals == [
        KindTotal("absorbed", 1, Credits(0), Credits(180)),
        KindTotal("charge", 1, Credits(-1_620), Credits(0)),
        KindTotal("grant", 1, Credits(70), Credits(0)),
    ]
    for statement in (november, december):
        moved = sum(total.credits.micro for total in statement.totals)
        assert statement.opening.micro + moved == statement.closing.micro
        assert moved == sum(line.credits.micro for line in statement_lines(statement))


def test_charges_are_told_by_model_and_calls_that_are_no_longer_logged_apart(bob: Payer) -> None:
    period = month("2026-11")
    assert make_statement(bob.account_id, period).models == [
        ModelTotal("claude-sonnet-4-7", 2, Credits(450)),
        ModelTotal("gpt-5-5", 1, Credits(50)),
    ]
    UsageRecord.objects.filter(model_id="gpt-5-5").delete()
    assert make_statement(bob.account_id, period).models == [
        ModelTotal("claude-sonnet-4-7", 2, Credits(450)),
        ModelTotal(None, 1, Credits(50)),
    ]


def test_entries_come_in_pages_that_meet(bob: Payer) -> None:
    statement = make_statement(bob.account_id, between(OCTOBER, DECEMBER + timedelta(days=9)))
    first = statement_page(statement, limit=4)
    second = statement_page(statement, after_seq=first[-1].entry.seq, limit=4)
    third = statement_page(statement, after_seq=second[-1].entry.seq, limit=4)
    assert [[line.entry.seq for line in page] for page in (first, second, third)] == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9],
    ]
    assert statement_page(statement, after_seq=9) == []
    assert [line.model_id for line in first] == [None, "claude-sonnet-4-7", "gpt-5-5", "claude-sonnet-4-7"]


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "seqs"),
    [
        (OCTOBER, NOVEMBER - JUST_BEFORE, []),
        (NOVEMBER - JUST_BEFORE, NOVEMBER, [1]),
        (NOVEMBER, NOVEMBER + JUST_BEFORE, [2]),
        (NOVEMBER + timedelta(days=3), NOVEMBER + timedelta(days=4), [3, 4]),
        (DECEMBER + timedelta(days=2), DECEMBER + timedelta(days=9), []),
    ],
)
def test_any_two_instants_cut_the_entries_exactly(
    bob: Payer, starts_at: datetime, ends_at: datetime, seqs: list[int]
) -> None:
    statement = make_statement(bob.account_id, between(starts_at, ends_at))
    assert [line.entry.seq for line in statement_lines(statement)] == seqs
    if not seqs:
        assert (statement.opening, statement.totals, statement.models) == (statement.closing, [], [])


def test_an_account_without_entries_has_an_empty_statement(ledger_db: None) -> None:
    nobody = open_payer("nobody")
    statement = make_statement(nobody.account_id, month("2026-11"))
    assert (statement.opening, statement.closing, list(statement_lines(statement))) == (Credits(0), Credits(0), [])


def test_another_accounts_entries_are_not_told(bob: Payer, alice: Payer) -> None:
    statement = make_statement(alice.account_id, between(OCTOBER, datetime(2100, 1, 1, tzinfo=UTC)))
    assert [(line.entry.kind, line.credits) for line in statement_lines(statement)] == [("top_up", Credits(1_000))]


def test_the_edges_of_a_period_are_found_without_reading_it(bob: Payer) -> None:
    """Of a thousand entries about ten are looked at for each edge."""
    account = Account.objects.create(name="busy")
    entries = [
        Entry(
            account_id=account.id,
            seq=seq,
            operation_id=new_id(),
            kind="top_up",
            debit="house:cash",
            credit="customer",
            amount_micro=1,
            balance_before_micro=seq - 1,
            balance_after_micro=seq,
            created_at=OCTOBER + timedelta(hours=seq),
        )
        for seq in range(1, 1_001)
    ]
    Entry.objects.bulk_create(entries)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        statement = make_statement(account.id, between(OCTOBER + timedelta(hours=700), OCTOBER + timedelta(hours=800)))
    assert (statement.opening, statement.closing) == (Credits(699), Credits(799))
    assert len(asked) <= 2 * 12 + 2


@pytest.mark.parametrize("text", ["2026", "2026-13", "november", "2026-11-01", ""])
def test_a_month_is_written_like_2026_11(text: str) -> None:
    with pytest.raises(BadPeriod, match="not a month"):
        month(text)


def test_months_end_where_the_next_begins() -> None:
    assert month("2026-12").ends_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert month("2028-02").ends_at - month("2028-02").starts_at == timedelta(days=29)
    with pytest.raises(BadPeriod, match="ends before it begins"):
        between(NOVEMBER, NOVEMBER)


def test_csv_has_every_entry_and_no_formula(bob: Payer) -> None:
    statement = make_statement(bob.account_id, month("2026-11"))
    rows = list(csv.DictReader(StringIO("".join(csv_rows(statement)), newline="")))
    assert [row["seq"] for row in rows] == ["2", "3", "4", "5", "6"]
    assert [row["credits"] for row in rows] == ["-0.0003", "-0.00005", "-0.00015", "0.00015", "-0.0001"]
    assert (rows[0]["created_at"], rows[0]["kind"], rows[0]["model"]) == (
        "2026-11-01T00:00:00Z",
        "charge",
        "claude-sonnet-4-7",
    )
    assert (rows[-1]["reason"], rows[-1]["reference"], rows[-1]["actor"]) == ("'=1+1", "'-c", "olga")
    assert rows[3]["about"] == rows[2]["operation"]


def test_a_statement_without_entries_is_a_heading(bob: Payer) -> None:
    rows = "".join(csv_rows(make_statement(bob.account_id, month("2025-01"))))
    assert rows.count("\r\n") == 1
    assert rows.startswith("seq,created_at,kind,credits,")


def test_json_names_the_same_columns(bob: Payer) -> None:
    (line, *_) = statement_page(make_statement(bob.account_id, month("2026-11")))
    facts = line_facts(line)
    assert facts["operation"] == show_request_id(line.entry.operation_id)
    assert (facts["credits"], facts["granted"], facts["about"]) == (Decimal("-0.0003"), 0, None)


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("statement", *arguments, stdout=output)
    return output.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"), parse_float=str)


def test_the_command_prints_one_object(bob: Payer) -> None:
    told = run_json("bob", "--month", "2026-12")
    entries = told.pop("entries")
    assert told == {
        "name": "bob",
        "account_id": str(bob.account_id),
        "from": "2026-12-01T00:00:00Z",
        "to": "2027-01-01T00:00:00Z",
        "opening": "0.00155",
        "closing": 0,
        "totals": [
            {"kind": "absorbed", "entries": 1, "credits": 0, "beside": "0.00018"},
            {"kind": "charge", "entries": 1, "credits": "-0.00162", "beside": 0},
            {"kind": "grant", "entries": 1, "credits": "0.00007", "beside": 0},
        ],
        "models": [{"model": "claude-sonnet-4-7", "calls": 1, "credits": "0.00162"}],
    }
    assert [(entry["seq"], entry["kind"], entry["granted"]) for entry in entries] == [
        (7, "grant", "0.00007"),
        (8, "charge", "0.00007"),
        (9, "absorbed", 0),
    ]
    assert run_json("bob", "--from", "2026-11-04", "--to", "2026-11-22")["closing"] == "0.00165"


def test_the_command_tells_people_totals_and_writes_csv(bob: Payer) -> None:
    assert run("bob", "--month", "2026-11") == (
        "bob, 2026-11-01 00:00 to 2026-12-01 00:00 UTC\n"
        "opening balance: 0.002 credits\n"
        "  charge: -0.0005 in 3\n"
        "  correction: -0.0001 in 1\n"
        "  refund: 0.00015 in 1\n"
        "closing balance: 0.00155 credits\n"
        "  claude-sonnet-4-7: 0.00045 credits for 2 calls\n"
        "  gpt-5-5: 0.00005 credits for 1 calls\n"
    )
    assert run("bob", "--month", "2026-11", "--csv").count("\r\n") == 6


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nobody",), "no account with the id or name 'nobody'"),
        (("nobody", "--csv"), "no account with the id or name 'nobody'"),
        (("bob", "--month", "soon"), "not a month, like 2026-11: 'soon'"),
        (("bob", "--month", "2026-11", "--from", "2026-11-01"), "give a month, or --from and --to, not both"),
        (("bob", "--from", "2026-11-01"), "--from and --to go together"),
        (("bob", "--from", "none", "--to", "2026-11-01"), "--from and --to are instants"),
        (("bob", "--from", "2026-11-01", "--to", "2026-10-01"), "the period ends before it begins"),
    ],
)
def test_a_period_that_does_not_add_up_is_one_clear_line(bob: Payer, arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert str(refused.value) == line
