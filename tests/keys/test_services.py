"""Keys are issued once, limited exactly, stopped with a reason; what does not exist is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from apps.accounts import revisions
from apps.accounts.cli import read_instant
from apps.accounts.mistakes import Mistake
from apps.accounts.models import Account, AuditEvent
from apps.accounts.services import create_account
from apps.catalog.services import load_catalog
from apps.core.clock import now
from apps.core.money import Credits
from apps.keys import rules, services
from apps.keys.models import ApiKey
from apps.keys.options import read_cap
from apps.keys.selectors import find_key, key_settings
from apps.keys.services import KeyChanges, ModelCap

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Account:
    load_catalog()
    return create_account(name="alice", actor="root")


@pytest.fixture
def key(alice: Account) -> ApiKey:
    return services.issue_key(account_id=alice.id, actor="root", name="laptop").row


def revision() -> int:
    return revisions.current().get(revisions.KEYS, 0)


def test_a_key_is_shown_once_and_only_its_digest_is_stored(alice: Account) -> None:
    issued = services.issue_key(account_id=alice.id, actor="root")
    assert rules.is_well_formed(issued.key)
    assert issued.row.digest == rules.digest(issued.key, pepper=settings.ENVIRONMENT.key_pepper)
    assert (issued.row.last4, issued.row.name, issued.row.revision) == (issued.key[-4:], "key", 1)
    stored = json.dumps([list(ApiKey.objects.values_list()), list(AuditEvent.objects.values_list())], default=str)
    assert issued.key not in stored


def test_a_keys_limits_are_exact(alice: Account) -> None:
    issued = services.issue_key(
        account_id=alice.id,
        actor="root",
        name="ci",
        allowed_models=["gpt-5-5", "gpt-5-5", "kimi-latest"],
        allowed_networks=["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"],
        limit=Credits.parse("100"),
        daily_budget=Credits.parse("0.000001"),
        hourly_budget=Credits(0),
        rpm_limit=60,
        expires_at=datetime(2100, 1, 1, tzinfo=UTC),
        model_caps={"gpt-5-5": ModelCap(limit=Credits.parse("1.5"), rpm=6)},
    )
    assert key_settings(issued.row) | {"key_id": "", "last4": "", "created_at": ""} == {
        "key_id": "",
        "account_id": str(alice.id),
        "name": "ci",
        "last4": "",
        "status": "active",
        "suspended_reason": None,
        "models": ["gpt-5-5", "kimi-latest"],
        "limit": 100,
        "daily": Decimal("0.000001"),
        "hourly": 0,
        "rpm": 60,
        "model_limits": [{"model": "gpt-5-5", "limit": Decimal("1.5"), "rpm": 6}],
        "allow_ip": ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"],
        "expires": "2100-01-01T00:00:00Z",
        "created_at": "",
    }
    assert issued.row.daily_budget_micro == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"allowed_models": ["gpt-9"]}, "no model with the id 'gpt-9'"),
        ({"model_caps": {"gpt-9": ModelCap(rpm=1)}}, "no model with the id 'gpt-9'"),
        ({"model_caps": {"gpt-5-5": ModelCap()}}, "the limit on gpt-5-5 limits nothing"),
        ({"model_caps": {"gpt-5-5": None}}, "the key has no limit on 'gpt-5-5'"),
        ({"model_caps": {"gpt-5-5": ModelCap(rpm=0)}}, "requests per minute must be from 1 to 2147483647, not 0"),
        ({"allowed_networks": ["10.0.0.1/8"]}, "10.0.0.1/8 has host bits set: did you mean 10.0.0.0/8?"),
        ({"allowed_networks": ["here"]}, "not an address or a network: 'here'"),
        ({"limit": Credits(-1)}, "the limit must not be negative"),
        ({"rpm_limit": 0}, "requests per minute must be from 1 to 2147483647, not 0"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "the key's expiry must be in the future"),
        ({"name": " "}, "the key's name is empty"),
    ],
)
def test_a_key_that_does_not_add_up_is_neither_made_nor_changed(
    alice: Account, key: ApiKey, changes: KeyChanges, line: str
) -> None:
    before, at_revision = key_settings(key), revision()
    for act in (
        lambda: services.issue_key(account_id=alice.id, actor="root", **changes),
        lambda: services.set_key(key_id=key.id, actor="root", **changes),
    ):
        with pytest.raises(Mistake) as refused:
            act()
        assert str(refused.value) == line
    assert key_settings(find_key(str(key.id))) == before
    assert (ApiKey.objects.count(), revision()) == (1, at_revision)


def test_a_change_names_only_what_changes(key: ApiKey) -> None:
    services.set_key(key_id=key.id, actor="root", limit=Credits.whole(5), model_caps={"gpt-5-5": ModelCap(rpm=3)})
    changed = services.set_key(key_id=key.id, actor="root", limit=None)
    assert (changed.limit_micro, changed.name, changed.revision) == (None, "laptop", 3)
    assert key_settings(changed)["model_limits"] == [{"model": "gpt-5-5", "limit": None, "rpm": 3}]
    assert list(AuditEvent.objects.filter(action="key.changed").order_by("id").values_list("detail", flat=True)) == [
        {"limit_micro": [None, 5_000_000], "cap gpt-5-5": [None, "no limit, 3 per minute"]},
        {"limit_micro": [5_000_000, None]},
    ]


def test_a_cap_that_changes_stamps_its_key(key: ApiKey) -> None:
    services.set_key(key_id=key.id, actor="root", model_caps={"gpt-5-5": ModelCap(rpm=3)})
    services.set_key(key_id=key.id, actor="root", model_caps={"gpt-5-5": ModelCap(rpm=3)})
    assert find_key(str(key.id)).revision == revision() == 2
    services.set_key(key_id=key.id, actor="root", model_caps={"gpt-5-5": None})
    assert find_key(str(key.id)).revision == revision() == 3
    assert key_settings(find_key(str(key.id)))["model_limits"] == []


def test_a_key_is_suspended_and_reinstated_with_a_reason(key: ApiKey) -> None:
    suspended = services.suspend_key(key_id=key.id, why="leaked", actor="root")
    assert (suspended.status, suspended.suspended_reason, suspended.revision) == ("suspended", "leaked", 2)
    first_instant = suspended.suspended_at
    assert services.suspend_key(key_id=key.id, why="still leaked", actor="root").suspended_at == first_instant
    active = services.reinstate_key(key_id=key.id, why="rotated", actor="root")
    assert (active.status, active.suspended_reason, active.suspended_at, active.revision) == ("active", "", None, 4)
    assert services.reinstate_key(key_id=key.id, why="again", actor="root").revision == 4
    with pytest.raises(Mistake, match="the reason is empty"):
        services.suspend_key(key_id=key.id, why=" ", actor="root")
    reasons = AuditEvent.objects.filter(target=str(key)).order_by("id").values_list("action", "detail__why")
    assert list(reasons)[1:] == [
        ("key.suspended", "leaked"),
        ("key.suspended", "still leaked"),
        ("key.reinstated", "rotated"),
    ]


def test_options_read_amounts_rates_and_instants() -> None:
    assert read_cap("gpt-5-5=12.5:60") == ("gpt-5-5", ModelCap(limit=Credits(12_500_000), rpm=60))
    assert read_cap("gpt-5-5=12.5") == ("gpt-5-5", ModelCap(limit=Credits(12_500_000)))
    assert read_cap("gpt-5-5=none:60") == ("gpt-5-5", ModelCap(rpm=60))
    assert read_cap("gpt-5-5=none") == ("gpt-5-5", None)
    for text in ("gpt-5-5", "=5", "gpt-5-5=", "gpt-5-5=5:x", "gpt-5-5=x"):
        with pytest.raises(ValueError, match=r"\S"):
            read_cap(text)
    assert read_instant("2030-01-02T03:04") == datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    assert read_instant("2030-01-02T03:04:00+02:00") == datetime(2030, 1, 2, 1, 4, tzinfo=UTC)
    assert read_instant("none") is None
    for text in ("soon", "0001-01-01T00:00:00+14:00"):
        with pytest.raises(Mistake, match="not an ISO 8601 instant"):
            read_instant(text)


def run_json(name: str, *arguments: str) -> Any:
    output = StringIO()
    call_command(name, *arguments, "--json", stdout=output)
    return json.loads(output.getvalue(), parse_float=str)


def test_commands_issue_change_and_stop_a_key(alice: Account) -> None:
    issued = run_json(
        "issue_key", "alice", "--daily", "2.5", "--model-limit", "gpt-5-5=1", "--model-limit", "kimi-latest=2:9"
    )
    assert sorted(issued) == ["account_id", "key", "key_id"]
    assert rules.is_well_formed(issued["key"])
    key_id = issued["key_id"]
    changed = run_json("set_key", key_id, "--daily", "none", "--model-limit", "gpt-5-5=none", "--models", "kimi-latest")
    assert (changed["daily"], changed["models"]) == (None, ["kimi-latest"])
    assert changed["model_limits"] == [{"model": "kimi-latest", "limit": 2, "rpm": 9}]
    assert run_json("set_key", key_id, "--models", "none")["models"] == []
    assert run_json("list_keys", "alice") == {"keys": [run_json("set_key", key_id)]}
    assert run_json("suspend_key", key_id, "--why", "leaked") == {"key_id": key_id, "status": "suspended"}
    assert run_json("reinstate_key", key_id, "--why", "rotated") == {"key_id": key_id, "status": "active"}


def test_the_human_line_of_a_fresh_key_is_the_key_itself(alice: Account) -> None:
    output = StringIO()
    call_command("issue_key", "alice", stdout=output)
    assert rules.is_well_formed(output.getvalue().splitlines()[0])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("issue_key", "charlie"), "no account with the id or name 'charlie'"),
        (("issue_key", "alice", "--models", "gpt-9"), "no model with the id 'gpt-9'"),
        (("issue_key", "alice", "--models", ","), "--models names no model: use none for all"),
        (("issue_key", "alice", "--limit", "lots"), "not an amount of credits: 'lots'"),
        (("issue_key", "alice", "--rpm", "-1"), "not a whole number: '-1'"),
        (("set_key", "nonsense"), "no API key with the id 'nonsense'"),
        (("suspend_key", "01a2051d-0287-7243-b65b-e1a5a4827cb9", "--why", "x"), "no API key with the id"),
        (("suspend_key", "01a2051d-0287-7243-b65b-e1a5a4827cb9"), "the following arguments are required: --why"),
    ],
)
def test_commands_refuse_with_one_line(alice: Account, arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(CommandError, match=line):
        call_command(*arguments)


def test_an_expiry_in_another_offset_is_compared_as_an_instant(alice: Account) -> None:
    soon = (now() + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-8)))
    issued = services.issue_key(account_id=alice.id, actor="root", expires_at=soon)
    assert issued.row.expires_at == soon
