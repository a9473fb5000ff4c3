"""What follows from a verdict: strikes count within a day, evidence suspends, operators take it back with a reason."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.accounts import revisions
from apps.accounts.mistakes import Mistake
from apps.accounts.models import Account, AuditEvent, Notification
from apps.accounts.services import create_account, set_account
from apps.core.ids import new_id
from apps.keys.cli.verdict import Finding, Sign, Verdict
from apps.keys.cli.violations import Incident, Outcome, lift_violation, record_violation
from apps.keys.models import ApiKey, CliViolation
from apps.keys.services import issue_key, reinstate_key, suspend_key

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MISSING = Verdict((Finding(Sign.APP, "the header X-App is missing"),))
EVIDENCE = Verdict((Finding(Sign.USER_AGENT, "its User-Agent is that of curl, not the CLI's", is_evidence=True),))


@pytest.fixture
def alice() -> Account:
    return create_account(name="alice", actor="root")


@pytest.fixture
def key(alice: Account) -> ApiKey:
    return issue_key(account_id=alice.id, actor="root", name="laptop").row


def happen(key: ApiKey, verdict: Verdict = MISSING, *, at: datetime = NOON, is_dry_run: bool = False) -> Outcome:
    incident = Incident(
        request_id=new_id(),
        key_id=key.id,
        model_id="claude-opus-4-7-max",
        verdict=verdict,
        evidence={"user_agent": "curl/8"},
        is_dry_run=is_dry_run,
    )
    return record_violation(incident, now=at)


def status_of(key: ApiKey) -> str:
    key.refresh_from_db()
    return key.status


def lift(outcome: Outcome) -> None:
    assert outcome.violation_id is not None
    lift_violation(violation_id=outcome.violation_id, why="our proxy's fault", actor="olga")


def test_the_third_strike_in_a_day_suspends(key: ApiKey) -> None:
    outcomes = [happen(key, at=NOON + timedelta(hours=hour)) for hour in (0, 1)]
    assert [(outcome.consequence, outcome.strike) for outcome in outcomes] == [("struck", 1), ("struck", 2)]
    assert outcomes[1].resets_at == NOON + timedelta(hours=24)
    assert status_of(key) == "active"
    assert happen(key, at=NOON + timedelta(hours=23)).consequence == "suspended"
    assert status_of(key) == "suspended"
    assert "X-App is missing" in key.suspended_reason
    assert key.revision == revisions.current()[revisions.KEYS]
    assert AuditEvent.objects.get(action="key.suspended").actor == "gateway"


def test_a_strike_is_forgotten_after_a_day(key: ApiKey) -> None:
    for hour in (0, 23, 25, 48):
        assert happen(key, at=NOON + timedelta(hours=hour)).consequence == "struck"
    assert status_of(key) == "active"


def test_evidence_suspends_at_once(key: ApiKey) -> None:
    assert happen(key, EVIDENCE).consequence == "suspended"
    assert status_of(key) == "suspended"
    violation = CliViolation.objects.get()
    assert (violation.verdict, violation.signs, violation.strike) == ("foreign", ["user_agent"], 0)
    assert (violation.account_id, violation.evidence) == (key.account_id, {"user_agent": "curl/8"})


def test_however_much_failed_the_key_is_suspended_and_can_be_lifted(key: ApiKey) -> None:
    much = Verdict(tuple(Finding(sign, "words " * 30, is_evidence=True) for sign in Sign))
    outcome = happen(key, much)
    assert (status_of(key), len(key.suspended_reason) <= 200) == ("suspended", True)
    lift(outcome)
    assert status_of(key) == "active"


def test_a_key_that_is_suspended_already_gathers_nothing(key: ApiKey) -> None:
    suspend_key(key_id=key.id, why="lost laptop", actor="olga")
    assert happen(key, EVIDENCE) == Outcome(None, "suspended")
    key.refresh_from_db()
    assert (key.suspended_reason, CliViolation.objects.count()) == ("lost laptop", 0)


def test_an_account_may_choose_to_block_only(alice: Account, key: ApiKey) -> None:
    set_account(account_id=alice.id, actor="root", cli_violation="block")
    for verdict in (MISSING, EVIDENCE, MISSING, MISSING):
        assert happen(key, verdict).consequence == "blocked"
    assert status_of(key) == "active"
    assert Notification.objects.filter(kind="cli_violation").count() == 1


def test_a_dry_run_only_records(key: ApiKey) -> None:
    for verdict in (MISSING, EVIDENCE, MISSING, MISSING):
        assert happen(key, verdict, is_dry_run=True).consequence == "recorded"
    assert (status_of(key), CliViolation.objects.count(), Notification.objects.count()) == ("active", 4, 0)
    assert happen(key).strike == 1


def test_the_people_of_the_account_are_told_of_each_strike(key: ApiKey) -> None:
    for _ in range(3):
        happen(key)
    told = list(Notification.objects.order_by("created_at").values_list("message", flat=True))
    assert len(told) == 3
    assert "laptop (…" in told[0]
    assert "claude-opus-4-7-max" in told[0]
    assert "Strike 1 of 3" in told[0]
    assert f"lift violation {CliViolation.objects.latest('id').id}" in told[2]


def test_lifting_takes_a_strike_back(key: ApiKey) -> None:
    first, _ = happen(key), happen(key)
    lift(first)
    assert happen(key).strike == 2
    assert status_of(key) == "active"
    violation = CliViolation.objects.earliest("id")
    assert (violation.lifted_by, violation.lifted_reason) == ("olga", "our proxy's fault")
    event = AuditEvent.objects.get(action="cli_violation.lifted")
    assert (event.actor, event.account_id, event.detail["why"]) == ("olga", key.account_id, "our proxy's fault")


def test_lifting_what_suspended_a_key_reinstates_it(key: ApiKey) -> None:
    outcome = happen(key, EVIDENCE)
    lift(outcome)
    assert status_of(key) == "active"
    assert AuditEvent.objects.filter(action="key.reinstated", actor="olga").count() == 1
    lift(outcome)  # again: nothing is left to do
    assert AuditEvent.objects.filter(action="cli_violation.lifted").count() == 1


def test_lifting_any_of_three_strikes_reinstates(key: ApiKey) -> None:
    first, _, _ = happen(key), happen(key), happen(key)
    assert status_of(key) == "suspended"
    lift(first)
    assert status_of(key) == "active"


def test_lifting_leaves_a_suspension_for_another_reason(key: ApiKey) -> None:
    struck = happen(key)
    evidence = happen(key, EVIDENCE)
    lift(struck)
    assert status_of(key) == "suspended"
    suspend_key(key_id=key.id, why="lost laptop", actor="olga")
    lift(evidence)
    assert status_of(key) == "suspended"
    reinstate_key(key_id=key.id, why="found", actor="olga")


def test_lifting_wants_a_reason(key: ApiKey) -> None:
    outcome = happen(key)
    assert outcome.violation_id is not None
    with pytest.raises(Mistake, match="the reason is empty"):
        lift_violation(violation_id=outcome.violation_id, why=" ", actor="olga")
    with pytest.raises(Mistake, match="no violation"):
        lift_violation(violation_id=new_id(), why="x", actor="olga")


def run_json(name: str, *arguments: str) -> Any:
    output = StringIO()
    call_command(name, *arguments, "--json", stdout=output)
    return json.loads(output.getvalue())


def test_commands_list_and_lift(alice: Account, key: ApiKey) -> None:
    assert run_json("list_violations", "alice") == {"violations": []}
    happen(key)
    outcome = happen(key, EVIDENCE)
    newest, oldest = run_json("list_violations", str(alice.id))["violations"]
    assert (newest["violation_id"], newest["verdict"], newest["consequence"]) == (
        str(outcome.violation_id),
        "foreign",
        "suspended",
    )
    assert (oldest["signs"], oldest["strike"], oldest["dry_run"], oldest["lifted_at"]) == (["app"], 1, False, None)
    assert run_json("lift_violation", str(outcome.violation_id), "--why", "a test of ours") == {
        "violation_id": str(outcome.violation_id),
        "key_id": str(key.id),
        "status": "active",
    }
    assert run_json("list_violations", "alice", "--last", "1")["violations"][0]["lifted_by"] == "command line"
    with pytest.raises(CommandError, match="no violation with the id 'nonsense'"):
        call_command("lift_violation", "nonsense", "--why", "x")
    text = StringIO()
    call_command("list_violations", "alice", stdout=text)
    assert "foreign, suspended, lifted: its User-Agent is that of curl" in text.getvalue()


@pytest.mark.django_db(transaction=True)
def test_strikes_of_many_processes_are_counted_one_by_one() -> None:
    alice = create_account(name="alice", actor="root")
    key = issue_key(account_id=alice.id, actor="root").row
    outcomes = together([lambda: happen(key)] * 6)
    assert sorted(outcome.consequence for outcome in outcomes) == ["struck"] * 2 + ["suspended"] * 4
    assert sorted(CliViolation.objects.values_list("strike", flat=True)) == [1, 2, 3]


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """What they return, each in a thread of its own with a connection of its own, started at once."""
    results: list[Any] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> None:
        start.wait(timeout=10)
        try:
            results.append(work())
        except Exception as failure:
            results.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return results
