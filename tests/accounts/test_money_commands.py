"""The operator's commands about accounts and money, as scripts use them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Account, Member
from apps.core.clock import now
from apps.core.ids import new_id, show_request_id
from apps.keys.models import ApiKey
from apps.ledger.models import Balance, Entry, Grant
from apps.ledger.operations import Hold, Settle
from apps.ledger.store import orm
from apps.usage.record import Record

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *arguments: str) -> str:
    output = StringIO()
    call_command(name, *arguments, stdout=output)
    return output.getvalue()


def run_json(name: str, *arguments: str) -> Any:
    printed = run(name, *arguments, "--json")
    assert printed.count("\n") == 1
    return json.loads(printed, parse_float=str)


def refusal(name: str, *arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        run(name, *arguments)
    return str(refused.value)


def charge(name: str, amount_micro: int) -> str:
    """A call that was charged so much; its request id."""
    account = Account.objects.get(name=name)
    key_id = ApiKey.objects.create(account=account, name="key", digest=new_id().hex, last4="abcd").id
    request_id = new_id()
    orm.commit([Hold(request_id, account.id, key_id, "gpt-5-5", new_id(), amount_micro, amount_micro)])
    record = Record(request_id, account.id, key_id, "gpt-5-5", "chat", False, now())
    orm.commit([Settle(request_id, account.id, amount_micro, record)])
    return show_request_id(request_id)


def test_an_account_opens_with_credits() -> None:
    made = run_json("create_account", "alice", "--credits", "1000.000001")
    assert made == {"account_id": str(Account.objects.get().id), "name": "alice", "balance": "1000.000001"}
    assert [(entry.kind, entry.amount_micro) for entry in Entry.objects.all()] == [("top_up", 1_000_000_001)]


def test_an_account_without_credits_has_a_balance_of_nothing() -> None:
    assert run_json("create_account", "alice")["balance"] == 0
    assert run_json("balance", "alice") == {"balance": 0, "held": 0, "available": 0}
    assert run_json("verify_ledger") == {"ok": True, "accounts": 1, "entries": 0, "problems": []}


@pytest.mark.parametrize("amount", ["-1", "ten", "0.0000001", "99999999999999"])
def test_bad_opening_credits_open_no_account(amount: str) -> None:
    assert refusal("create_account", "alice", "--credits", amount)
    assert not Account.objects.exists()


def test_a_top_up_counts_once_per_reference() -> None:
    run("create_account", "alice", "--credits", "1")
    first = run_json("top_up", "alice", "2.5", "--reference", "invoice 7")
    again = run_json("top_up", "alice", "2.5", "--reference", "invoice 7")
    assert first == {"entry_id": first["entry_id"], "balance_before": 1, "balance_after": "3.5", "repeated": False}
    assert again == {**first, "repeated": True}
    assert refusal("top_up", "alice", "3", "--reference", "invoice 7") == (
        "reference 'invoice 7' was used for 2.5 credits, not 3"
    )
    assert run_json("balance", "alice")["available"] == "3.5"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("charlie", "5", "--reference", "r"), "no account with the id or name 'charlie'"),
        (("alice", "0", "--reference", "r"), "the amount must not be zero"),
        (("alice", "-5", "--reference", "r"), "the amount must be more than zero"),
        (("alice", "5", "--reference", " "), "the reference is empty"),
        (("alice", "five", "--reference", "r"), "not an amount of credits: 'five'"),
        (("alice", "5"), "Error: the following arguments are required: --reference"),
    ],
)
def test_a_top_up_that_does_not_add_up_is_one_clear_line(arguments: tuple[str, ...], line: str) -> None:
    run("create_account", "alice")
    assert refusal("top_up", *arguments) == line
    assert not Entry.objects.exists()


def test_credits_are_granted_until_an_instant() -> None:
    run("create_account", "alice", "--credits", "1")
    given = run_json("grant", "alice", "2.5", "--reference", "hello", "--expires", "2199-01-31", "--priority", "3")
    assert given == {"entry_id": given["entry_id"], "balance_before": 1, "balance_after": "3.5", "repeated": False}
    grant = Grant.objects.get()
    assert (grant.amount_micro, grant.priority, grant.expires_at) == (
        2_500_000,
        3,
        datetime(2199, 1, 31, tzinfo=UTC),
    )
    again = ("grant", "alice", "2.5", "--reference", "hello")
    assert run_json(*again, "--expires", "2199-01-31", "--priority", "3") == {**given, "repeated": True}
    assert refusal(*again) == ("reference 'hello' was used for a grant until 2199-01-31T00:00:00Z with priority 3")
    assert run_json("balance", "alice") == {"balance": "3.5", "held": 0, "available": "3.5"}
    assert run_json("verify_ledger")["problems"] == []


def test_expired_credits_are_not_available_though_nobody_took_them_off_yet() -> None:
    run("create_account", "alice", "--credits", "1")
    run("grant", "alice", "2.5", "--reference", "hello", "--expires", "2199-01-31")
    Grant.objects.update(expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert run_json("balance", "alice") == {"balance": "3.5", "held": 0, "available": 1}


def test_a_charge_is_refunded_in_parts_and_once_per_reference() -> None:
    run("create_account", "alice", "--credits", "1000")
    request = charge("alice", 12_000_000)
    part = run_json("refund", "alice", request, "--credits", "5", "--reference", "case 7", "--reason", "too slow")
    assert part == {
        "entry_id": part["entry_id"],
        "balance_before": 988,
        "balance_after": 993,
        "repeated": False,
        "refunded": 5,
        "refundable": 7,
    }
    assert Entry.objects.get(kind="refund").reason == "too slow"
    again = run_json("refund", "alice", request, "--credits", "5", "--reference", "case 7")
    assert again == {**part, "repeated": True}
    rest = run_json("refund", "alice", request, "--reference", "case 8")
    assert (rest["refunded"], rest["refundable"], rest["balance_after"]) == (7, 0, 1000)
    assert run_json("refund", "alice", request, "--reference", "case 8") == {**rest, "repeated": True}
    assert refusal("refund", "alice", request, "--reference", "case 9") == f"nothing is left of a charge for {request}"
    assert refusal("refund", "alice", request, "--credits", "1", "--reference", "case 9") == (
        "1 credits are more than the 0 that are left of the request's charge"
    )
    other = charge("alice", 1_000_000)
    assert refusal("refund", "alice", other, "--credits", "5", "--reference", "case 7") == (
        "reference 'case 7' was used for another request"
    )
    assert run_json("verify_ledger")["problems"] == []


def test_a_claw_back_tells_what_is_owed_and_freezes() -> None:
    run("create_account", "alice", "--credits", "10")
    taken = run_json("claw_back", "alice", "4", "--reference", "dispute 1")
    assert (taken["taken"], taken["owed"], taken["balance_after"]) == (4, 0, 6)
    assert run_json("set_account", "alice")["status"] == "active"
    more = ("claw_back", "alice", "16", "--reference", "dispute 2", "--reason", "chargeback")
    owed = run_json(*more)
    assert (owed["taken"], owed["owed"], owed["balance_after"]) == (6, 10, 0)
    assert run_json("set_account", "alice")["status"] == "frozen"
    # Unfrozen by an operator, it stays so: the reversal was told before.
    run("set_account", "alice", "--status", "active")
    assert run_json(*more) == {**owed, "repeated": True}
    assert run_json("set_account", "alice")["status"] == "active"
    paid = run_json("top_up", "alice", "25", "--reference", "invoice 7")
    assert (paid["balance_before"], paid["balance_after"]) == (0, 15)
    assert run_json("top_up", "alice", "25", "--reference", "invoice 7") == {**paid, "repeated": True}
    assert run_json("verify_ledger")["problems"] == []


def test_a_correction_counts_once_per_reference() -> None:
    run("create_account", "alice", "--credits", "10")
    asked = ("correct", "alice", "-4", "--reason", "counted twice", "--reference", "case 7")
    first = run_json(*asked)
    assert (first["balance_after"], run_json(*asked)) == (6, {**first, "repeated": True})
    assert refusal("correct", "alice", "4", "--reason", "counted twice", "--reference", "case 7") == (
        "reference 'case 7' was used for -4 credits, not 4"
    )
    assert refusal("correct", "alice", "4", "--reason", " ", "--reference", "case 8") == "the reason is empty"
    assert "arguments are required: --reason" in refusal("correct", "alice", "4", "--reference", "case 8")
    assert run_json("balance", "alice")["balance"] == 6


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("grant", "alice", "5", "--reference", "r", "--expires", "soon"), "not an ISO 8601 instant: 'soon'"),
        (
            ("grant", "alice", "5", "--reference", "r", "--expires", "2020-01-01"),
            "the grant would have expired already",
        ),
        (("grant", "alice", "5", "--reference", "r", "--priority", "-1"), "the priority must be from 0 to 100"),
        (("grant", "alice", "-5", "--reference", "r"), "the amount must be more than zero"),
        (("refund", "alice", "nonsense", "--reference", "r"), "not a request id: 'nonsense'"),
        (("claw_back", "alice", "0", "--reference", "r"), "the amount must not be zero"),
        (("claw_back", "charlie", "5", "--reference", "r"), "no account with the id or name 'charlie'"),
    ],
)
def test_a_movement_that_does_not_add_up_is_one_clear_line(arguments: tuple[str, ...], line: str) -> None:
    run("create_account", "alice")
    assert refusal(*arguments) == line
    assert not Entry.objects.exists()


def test_a_member_is_added_by_address() -> None:
    run("create_account", "alice", "--credits", "3")
    added = run_json("add_member", "alice", "bob@example.com", "--role", "admin")
    assert (added["name"], added["balance"], added["email"], added["role"]) == ("alice", 3, "bob@example.com", "admin")
    assert Member.objects.get().role == "admin"
    assert "invalid choice: 'king'" in refusal("add_member", "alice", "bob@example.com", "--role", "king")


def test_an_accounts_settings_are_shown_and_changed() -> None:
    run("create_account", "alice")
    changed = run_json("set_account", "alice", "--rpm", "60", "--daily", "2.5", "--cli-violation", "block")
    assert changed == {
        "account_id": str(Account.objects.get().id),
        "name": "alice",
        "status": "active",
        "rpm": 60,
        "daily": "2.5",
        "absorbed_cap": 1000,
        "insurance_daily_cap": 10_000,
        "cli_violation": "block",
        "retention_days": 90,
        "keep_replies": False,
    }
    assert run_json("set_account", "alice", "--daily", "none", "--retention-days", "7") == {
        **changed,
        "daily": None,
        "retention_days": 7,
    }
    assert run_json("set_account", "alice") == {**changed, "daily": None, "retention_days": 7}
    assert run_json("set_account", "alice", "--keep-replies", "on")["keep_replies"] is True
    assert run_json("set_account", "alice", "--keep-replies", "off")["keep_replies"] is False
    assert run_json("set_account", "alice", "--absorbed-cap", "0.5")["absorbed_cap"] == "0.5"
    assert run_json("set_account", "alice", "--absorbed-cap", "none")["absorbed_cap"] is None
    assert run_json("set_account", "alice", "--insurance-daily-cap", "2.5")["insurance_daily_cap"] == "2.5"
    assert run_json("set_account", "alice", "--insurance-daily-cap", "none")["insurance_daily_cap"] is None
    assert refusal("set_account", "alice", "--insurance-daily-cap", "-1") == (
        "what insurance pays a day must not be negative"
    )
    assert (
        refusal("set_account", "alice", "--absorbed-cap", "-1") == "what the house absorbs a day must not be negative"
    )


def test_explain_says_so_where_it_knows_nothing() -> None:
    assert refusal("explain", "req_nonsense") == "not a request id: 'req_nonsense'"
    unknown = "req_01a2051df3957266a2094978cb37b7d7"
    assert refusal("explain", unknown) == f"no request with the id '{unknown}'"


def test_an_unsound_ledger_ends_with_exit_code_1() -> None:
    run("create_account", "alice")
    Balance.objects.update(balance_micro=5_000_000)
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify_ledger", "--json", stdout=output)
    report = json.loads(output.getvalue())
    assert ended.value.code == 1
    assert report["ok"] is False
    assert any("a balance of 5 without entries" in problem for problem in report["problems"])


def test_a_shell_sees_one_line_and_an_exit_code(tmp_path: Path) -> None:
    for arguments in (["top_up", "alice"], ["balance", "nobody"]):
        ended = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={"HYPEREAL_DATA_DIR": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
