"""Routes are added, changed and removed by operators; a credential goes in and never comes out."""

from __future__ import annotations

import json
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from apps.accounts import revisions
from apps.accounts.mistakes import Mistake
from apps.accounts.models import AuditEvent
from apps.catalog.services import load_catalog
from apps.upstreams import services
from apps.upstreams.credential_text import RouteMistake
from apps.upstreams.credentials import credential_of, seal, unseal
from apps.upstreams.models import Route
from apps.upstreams.selectors import route_facts

pytestmark = pytest.mark.django_db

SECRET = "sk-ant-0123456789"


@pytest.fixture(autouse=True)
def catalog() -> None:
    load_catalog()


def add(**changes: Any) -> Route:
    wanted: dict[str, Any] = {
        "model_id": "claude-sonnet-4-7",
        "provider": "anthropic",
        "dialects": ["anthropic-messages"],
        "base_url": "https://api.anthropic.com/",
        "upstream_model": "claude-sonnet-4-7-20260901",
        "actor": "root",
    }
    return services.add_route(**{**wanted, **changes})


def test_a_route_is_added_with_its_address_in_one_shape() -> None:
    route = add(credential_env="ANTHROPIC_API_KEY", weight=30, priority=2)
    assert route_facts(route) | {"route_id": ""} == {
        "route_id": "",
        "model": "claude-sonnet-4-7",
        "provider": "anthropic",
        "dialects": ["anthropic-messages"],
        "base_url": "https://api.anthropic.com",
        "upstream_model": "claude-sonnet-4-7-20260901",
        "credential_env": "ANTHROPIC_API_KEY",
        "credential_file": None,
        "has_stored_credential": False,
        "weight": 30,
        "priority": 2,
        "enabled": True,
        "exposes_model": False,
        "keeps_state": False,
        "connect_timeout_ms": 5_000,
        "first_byte_timeout_ms": 300_000,
        "idle_timeout_ms": 120_000,
        "total_timeout_ms": 900_000,
    }
    assert route.revision == revisions.current()[revisions.ROUTES] == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model_id": "gpt-9"}, "no model with the id 'gpt-9'"),
        ({"dialects": ["telegraph"]}, "dialect is 'telegraph': use one of openai-chat,"),
        ({"dialects": []}, "a route speaks at least one dialect"),
        ({"base_url": "ftp://example.com"}, "the base URL must begin with http:// or https:// and name a host"),
        ({"base_url": "https://"}, "the base URL must begin with http:// or https:// and name a host"),
        ({"base_url": "https://me:pw@example.com"}, "the base URL must not carry a user or password"),
        ({"base_url": "https://example.com/v1?key=1"}, "the base URL must not have a query or a fragment"),
        ({"base_url": "https://example.com:port"}, "not a URL"),
        ({"base_url": "https://exa mple.com"}, "the base URL must not have spaces"),
        ({"upstream_model": ""}, "the upstream model is empty"),
        ({"weight": 0}, "weight must be from 1"),
        ({"priority": -1}, "priority must be from 0"),
        ({"connect_timeout_ms": 0}, "connect timeout ms must be from 1"),
        ({"credential_env": "MY KEY"}, "not the name of an environment variable: 'MY KEY'"),
        ({"credential_env": "HYPEREAL_KEY_PEPPER"}, "HYPEREAL_KEY_PEPPER is a secret of this installation"),
        ({"credential_env": "A", "credential": "b"}, "a route has one credential: give it, or the name"),
        ({"credential": "two words"}, "a credential has no spaces"),
        ({"credential": "sk-\r\nx"}, "a credential has no spaces"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(Mistake) as refused:
        add(**changes)
    assert line in str(refused.value)
    assert not Route.objects.exists()


def test_a_credential_is_sealed_and_appears_nowhere() -> None:
    route = add(credential=SECRET)
    assert credential_of(sealed=route.credential_sealed, variable="", environ={}) == SECRET
    services.set_route(route_id=route.id, actor="root", credential=SECRET + "x")
    stored = json.dumps([list(Route.objects.values_list()), list(AuditEvent.objects.values_list())], default=str)
    assert SECRET not in stored
    assert AuditEvent.objects.order_by("-id")[0].detail == {
        "route_id": str(route.id),
        "credential_sealed": ["sealed", "sealed"],
    }


def test_a_stored_credential_and_a_variable_replace_each_other() -> None:
    route = add(credential=SECRET)
    by_variable = services.set_route(route_id=route.id, actor="root", credential_env="ANTHROPIC_API_KEY")
    assert (by_variable.credential_env, by_variable.credential_sealed) == ("ANTHROPIC_API_KEY", "")
    assert credential_of(sealed="", variable="ANTHROPIC_API_KEY", environ={"ANTHROPIC_API_KEY": "k"}) == "k"
    assert credential_of(sealed="", variable="ANTHROPIC_API_KEY", environ={}) == ""
    stored = services.set_route(route_id=route.id, actor="root", credential=SECRET)
    assert (stored.credential_env, bool(stored.credential_sealed)) == ("", True)
    assert services.set_route(route_id=route.id, actor="root", credential="").credential_sealed == ""


def test_the_newest_encryption_key_seals_and_every_listed_one_opens(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENVIRONMENT = SimpleNamespace(encryption_keys=(old,))
    sealed = seal(SECRET)
    settings.ENVIRONMENT = SimpleNamespace(encryption_keys=(new, old))
    assert unseal(sealed) == SECRET
    moved = seal(unseal(sealed))
    settings.ENVIRONMENT = SimpleNamespace(encryption_keys=(new,))
    assert unseal(moved) == SECRET
    with pytest.raises(RouteMistake, match="under a key that HYPEREAL_ENCRYPTION_KEYS lacks"):
        unseal(sealed)


def test_removing_a_route_moves_the_revision_that_pollers_read() -> None:
    route = add()
    services.remove_route(route_id=route.id, actor="root")
    assert not Route.objects.exists()
    assert revisions.current()[revisions.ROUTES] == 2
    with pytest.raises(RouteMistake, match="no route with the id"):
        services.remove_route(route_id=route.id, actor="root")


def run_json(name: str, *arguments: str) -> Any:
    output = StringIO()
    call_command(name, *arguments, "--json", stdout=output)
    return json.loads(output.getvalue())


def test_commands_add_list_change_and_remove() -> None:
    added = run_json(
        "add_route",
        "gpt-5-5",
        *("--provider", "openai", "--dialect", "openai-responses,openai-chat"),
        *("--base-url", "https://api.openai.com/v1", "--upstream-model", "gpt-5.5"),
        *("--credential-env", "OPENAI_API_KEY", "--weight", "5"),
    )
    assert sorted(added) == ["route_id"]
    (listed,) = run_json("list_routes", "gpt-5-5")["routes"]
    assert (listed["route_id"], listed["dialects"]) == (added["route_id"], ["openai-responses", "openai-chat"])
    assert run_json("list_routes", "kimi-latest") == {"routes": []}
    changed = run_json("set_route", added["route_id"], "--disable", "--priority", "3", "--expose-model")
    assert changed == {**listed, "enabled": False, "priority": 3, "exposes_model": True}
    assert run_json("set_route", added["route_id"], "--enable", "--hide-model", "--credential-env", "none") == {
        **listed,
        "priority": 3,
        "credential_env": None,
    }
    assert run_json("remove_route", added["route_id"]) == {"route_id": added["route_id"], "removed": True}
    assert run_json("list_routes") == {"routes": []}


def test_commands_set_every_deadline() -> None:
    address = (
        "--provider",
        "x",
        "--dialect",
        "openai-chat",
        "--base-url",
        "https://x.test/v1",
        "--upstream-model",
        "m",
    )
    added = run_json("add_route", "gpt-5-5", *address, "--connect-timeout-ms", "700", "--total-timeout-ms", "60000")
    (listed,) = run_json("list_routes", "gpt-5-5")["routes"]
    assert (listed["connect_timeout_ms"], listed["total_timeout_ms"]) == (700, 60_000)
    changed = run_json("set_route", added["route_id"], "--first-byte-timeout-ms", "800", "--idle-timeout-ms", "900")
    assert changed == {**listed, "first_byte_timeout_ms": 800, "idle_timeout_ms": 900}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("set_route", "nonsense", "--enable"), "no route with the id 'nonsense'"),
        (("remove_route", "01a2051d-0287-7243-b65b-e1a5a4827cb9"), "no route with the id"),
        (("list_routes", "gpt-9"), "no model with the id 'gpt-9'"),
        (("add_route", "gpt-5-5", "--provider", "x"), "the following arguments are required"),
    ],
)
def test_commands_refuse_with_one_line(arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(CommandError, match=line):
        call_command(*arguments)
