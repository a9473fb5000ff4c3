"""The operator's commands about accounts and money, as scripts use them."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import Account, Member
from apps.ledger.models import Balance, Entry

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
        "cli_violation": "block",
        "retention_days": 90,
    }
    assert run_json("set_account", "alice", "--daily", "none", "--retention-days", "7") == {
        **changed,
        "daily": None,
        "retention_days": 7,
    }
    assert run_json("set_account", "alice") == {**changed, "daily": None, "retention_days": 7}


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
