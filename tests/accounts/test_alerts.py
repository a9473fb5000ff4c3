"""What operators should see to: one row while it is open, however often and from wherever it is told."""

from __future__ import annotations

import io
import json
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import Client

from apps.accounts import alerts
from apps.accounts.mistakes import Mistake
from apps.accounts.models import AuditEvent, OperatorAlert, User
from tests.flows.admin_pages import listing, operators_browser, text_of

pytestmark = pytest.mark.django_db


def tell(message: str = "openai answers 401.", *, times: int = 1) -> bool:
    return alerts.alert(kind="upstream_refuses_us", subject="route 7", message=message, times=times)


def test_an_open_alert_counts_its_repeats_and_tells_the_latest_words() -> None:
    assert [tell(), tell(), tell("openai answers 402.", times=3)] == [True, False, False]
    (kept,) = OperatorAlert.objects.all()
    assert (kept.times, kept.message, kept.resolved_at) == (5, "openai answers 402.", None)
    assert kept.first_seen_at < kept.last_seen_at


def test_what_comes_back_after_it_was_resolved_opens_another() -> None:
    tell()
    first = OperatorAlert.objects.get()
    resolved = alerts.resolve(alert_id=first.id, actor="olga")
    assert (resolved.resolved_by, resolved.resolved_at is None) == ("olga", False)
    assert AuditEvent.objects.get().action == "alert.resolved"
    again = alerts.resolve(alert_id=first.id, actor="sam")
    assert (again.resolved_by, AuditEvent.objects.count()) == ("olga", 1)
    assert tell()
    assert OperatorAlert.objects.count() == 2
    with pytest.raises(Mistake, match="no alert with the id"):
        alerts.resolve(alert_id=uuid.uuid4(), actor="olga")


def test_who_loses_the_race_to_open_it_counts_as_a_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    tell()
    repeats = iter([False, True])
    monkeypatch.setattr(alerts, "_repeat", lambda *_, **__: next(repeats))
    assert tell() is False
    with pytest.raises(StopIteration):
        next(repeats)
    assert OperatorAlert.objects.count() == 1


def test_two_of_a_kind_and_subject_are_never_open_at_once() -> None:
    tell()
    row = OperatorAlert.objects.get()
    row.id = uuid.uuid4()
    with pytest.raises(IntegrityError):
        row.save(force_insert=True)


def test_words_that_are_too_long_are_cut() -> None:
    assert alerts.alert(kind="k" * 99, subject="s" * 999, message="m" * 999)
    assert not alerts.alert(kind="k" * 99, subject="s" * 999, message="m" * 999)


def test_an_operator_reads_and_resolves_them() -> None:
    tell()
    browser = operators_browser()
    assert "openai answers 401." in text_of(browser.get(listing("accounts_operatoralert")))
    row = OperatorAlert.objects.get()
    browser.post(listing("accounts_operatoralert"), {"action": "resolve", "_selected_action": [str(row.id)]})
    row.refresh_from_db()
    assert row.resolved_by == "olga"
    assert "openai answers 401." not in text_of(browser.get(listing("accounts_operatoralert")))
    assert "resolved by olga" in text_of(browser.get(listing("accounts_operatoralert") + "?state=resolved"))
    assert "openai answers 401." in text_of(browser.get(listing("accounts_operatoralert") + "?state=any"))


def test_who_may_only_look_resolves_nothing() -> None:
    tell()
    sam = User.objects.create_user("sam", is_staff=True)
    sam.user_permissions.set(Permission.objects.filter(codename="view_operatoralert"))
    client = Client()
    client.force_login(sam)
    row = OperatorAlert.objects.get()
    client.post(listing("accounts_operatoralert"), {"action": "resolve", "_selected_action": [str(row.id)]})
    row.refresh_from_db()
    assert row.resolved_at is None


def run(*arguments: str) -> Any:
    output = io.StringIO()
    call_command("alerts", *arguments, "--json", stdout=output)
    return json.loads(output.getvalue())["alerts"]


def test_the_command_line_lists_and_resolves_them() -> None:
    assert run() == []
    tell()
    tell()
    (listed,) = run()
    assert (listed["kind"], listed["times"], listed["message"]) == ("upstream_refuses_us", 2, "openai answers 401.")
    output = io.StringIO()
    call_command("alerts", stdout=output)
    assert "2 x  upstream_refuses_us (route 7): openai answers 401." in output.getvalue()
    assert run("--resolve", listed["alert_id"]) == []
    assert OperatorAlert.objects.get().resolved_by == "command line"
    for nonsense in ("nonsense", str(uuid.uuid4())):
        with pytest.raises(CommandError, match="no alert with the id"):
            run("--resolve", nonsense)
