"""What operators do to models, prices and routes in the browser."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Account, AuditEvent
from apps.catalog.models import Model, PriceVersion
from apps.upstreams.credentials import unseal
from apps.upstreams.models import Route
from apps.upstreams.services import add_route
from tests.flows.admin_pages import change, funded_account, listing, operators_browser, text_of

pytestmark = pytest.mark.django_db

SECRET = "sk-provider-0123456789"


@pytest.fixture
def browser() -> Client:
    return operators_browser()


@pytest.fixture
def alice() -> Account:
    return funded_account("alice")


def test_a_model_is_switched_off_and_its_policy_changed(browser: Client, alice: Account) -> None:
    model = Model.objects.get(id="gpt-5-5")
    figures = {
        "concurrency": "3",
        "rpm": "15000",
        "tpm": "40000000",
        "ipm": "",
        "queue_seconds": "5",
        "queue_length": "64",
        "queue_tokens": "15000000000",
        "insurance_threshold_ms": "90000",
        "insurance_percent": "25",
        "insurance_ms_per_output_token": "25",
    }
    page = {f"policy-0-{name}": value for name, value in figures.items()}
    page |= {"policy-TOTAL_FORMS": "1", "policy-INITIAL_FORMS": "1", "policy-0-model": "gpt-5-5"}
    for log in ("prices", "insurance_versions"):
        page |= {f"{log}-TOTAL_FORMS": "0", f"{log}-INITIAL_FORMS": "0"}
    assert browser.post(change(model), page).status_code == 302
    model.refresh_from_db()
    assert (model.is_enabled, model.policy.concurrency, model.policy.rpm) == (False, 3, 15_000)
    details = AuditEvent.objects.filter(actor="olga").order_by("id").values_list("action", "detail")
    assert list(details) == [
        ("model.changed", {"is_enabled": [True, False]}),
        ("policy.changed", {"concurrency": [80, 3]}),
    ]


def test_a_new_price_is_a_new_version_and_the_old_one_stays(browser: Client, alice: Account) -> None:
    model = Model.objects.get(id="gpt-5-5")
    page = {"input": "600", "output": "3200.5", "cache_read": "", "effective_at_0": "", "effective_at_1": ""}
    assert browser.post(change(model, "new_price"), page).status_code == 302
    assert list(PriceVersion.objects.filter(model=model).order_by("version").values_list("input", "output")) == [
        (525_000_000, 3_150_000_000),
        (600_000_000, 3_200_500_000),
    ]
    past = {**page, "effective_at_0": "2020-01-01", "effective_at_1": "00:00"}
    assert "cannot take effect in the past" in text_of(browser.post(change(model, "new_price"), past))
    version = PriceVersion.objects.filter(model=model)[0]
    assert browser.post(change(version), {"input": "1"}).status_code == 403


def test_a_credential_goes_in_and_never_comes_out(browser: Client, alice: Account) -> None:
    page = {
        "model": "gpt-5-5",
        "provider": "openai",
        "base_url": "https://api.openai.com/v1/",
        "dialects": "openai-responses, openai-chat",
        "upstream_model": "gpt-5.5",
        "credential": SECRET,
        "credential_env": "",
        "weight": "100",
        "priority": "0",
        "is_enabled": "on",
        "connect_timeout_ms": "5000",
        "first_byte_timeout_ms": "300000",
        "idle_timeout_ms": "120000",
        "total_timeout_ms": "900000",
    }
    assert browser.post(reverse("admin:upstreams_route_add"), page).status_code == 302
    route = Route.objects.get()
    assert (route.base_url, route.dialects) == ("https://api.openai.com/v1", ["openai-responses", "openai-chat"])
    assert unseal(route.credential_sealed) == SECRET
    for url in (change(route), listing("upstreams_route"), change(route, "history")):
        shown = browser.get(url).content.decode()
        assert SECRET not in shown
        assert route.credential_sealed not in shown
    browser.post(change(route), {**page, "credential": "", "weight": "7"})
    route.refresh_from_db()
    assert (route.weight, unseal(route.credential_sealed)) == (7, SECRET)
    browser.post(change(route), {**page, "credential": "", "forgets_credential": "on"})
    route.refresh_from_db()
    assert route.credential_sealed == ""
    assert browser.post(change(route, "delete"), {"post": "yes"}).status_code == 302
    assert not Route.objects.exists()


def test_a_route_with_a_bad_address_says_so(browser: Client, alice: Account) -> None:
    route = add_route(
        model_id="gpt-5-5",
        provider="openai",
        dialects=["openai-chat"],
        base_url="https://api.openai.com/v1",
        upstream_model="gpt-5.5",
        actor="root",
    )
    shown = text_of(browser.post(change(route), {"base_url": "https://me:pw@example.com", "dialects": "telegraph"}))
    assert "must not carry a user or password" in shown
    assert "dialect is &#x27;telegraph&#x27;" in shown


def test_how_a_cli_only_model_is_kept_to_the_cli_is_decided_on_its_page(browser: Client, alice: Account) -> None:
    model = Model.objects.get(id="claude-opus-4-7-max")
    page = {"is_enabled": "on", "cli_enforcement": "record", "cli_entrypoints": "claude-vscode\nsdk-ts"}
    page |= {
        f"{rows}-{kind}_FORMS": "0"
        for rows in ("policy", "prices", "insurance_versions")
        for kind in ("TOTAL", "INITIAL")
    }
    assert "VS Code" in text_of(browser.post(change(model), {**page, "cli_entrypoints": "VS Code"}))
    assert browser.post(change(model), page).status_code == 302
    model.refresh_from_db()
    assert (model.is_enabled, model.cli_enforcement, model.cli_entrypoints) == (
        True,
        "record",
        ["claude-vscode", "sdk-ts"],
    )
    assert "CLI enforcement" in text_of(browser.get(change(model)))
    assert "CLI enforcement" not in text_of(browser.get(change(Model.objects.get(id="gpt-5-5"))))
