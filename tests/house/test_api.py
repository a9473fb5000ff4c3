"""`/api/v1/`: its schema and page are open to anyone, its errors have one shape, its figures are for operators."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from pytest_django.fixtures import Settings

from apps.accounts.models import User
from apps.governor.api import OverviewSerializer
from apps.governor.store.memory import MemoryGovernor
from apps.governor.telemetry import here
from apps.governor.telemetry.observer import Observer
from apps.governor.telemetry.tally import Telemetry
from tests.governor.rig import MODEL
from tests.governor.telemetry.rig import CATALOG, served

pytestmark = pytest.mark.django_db

TOKEN = {"Authorization": "Bearer the token"}


@pytest.fixture
def counting() -> Iterator[Telemetry]:
    """This process counts calls, as a web process does: its event loop runs in another thread."""
    telemetry, loop = Telemetry(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> None:
        observer = Observer(telemetry, MemoryGovernor(), lambda: CATALOG, process="web", board=None)
        here.set_observer(observer)

    asyncio.run_coroutine_threadsafe(begin(), loop).result()
    yield telemetry
    here.forget_observer()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture
def with_token(settings: Settings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, metrics_token="the token")


def client_of(*, is_staff: bool) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("olga", "olga@example.com", is_staff=is_staff))
    return client


def error_of(reply: object) -> tuple[int, str]:
    body = json.loads(reply.content)  # type: ignore[attr-defined]
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    return reply.status_code, body["error"]["code"]  # type: ignore[attr-defined]


def test_an_operator_reads_the_capacity_of_every_model(counting: Telemetry) -> None:
    served(counting, first_byte_ms=20)
    reply = client_of(is_staff=True).get("/api/v1/capacity")
    told = reply.json()
    assert (reply.status_code, told["processes"], told["is_complete"], told["in_flight"]) == (200, 1, True, 0)
    [model] = told["models"]
    assert (model["model"], model["in_flight"], model["minute"]["calls"]) == (MODEL, {"used": 0, "limit": 2}, 1)
    assert model["routes"][0]["minute"]["first_byte_ms"] == {"p50": 20, "p95": 20, "p99": 20}
    assert "no-store" in reply["Cache-Control"]


@pytest.mark.usefixtures("counting", "with_token")
def test_whoever_has_the_token_reads_it_too(client: Client) -> None:
    assert client.get("/api/v1/capacity", headers=TOKEN, REMOTE_ADDR="203.0.113.9").status_code == 200
    assert error_of(client.get("/api/v1/capacity", headers={"Authorization": "Bearer another"})) == (
        401,
        "authentication_failed",
    )


@pytest.mark.usefixtures("counting")
def test_strangers_and_people_of_accounts_do_not(client: Client) -> None:
    refused = client.get("/api/v1/capacity")
    assert error_of(refused) == (401, "not_authenticated")
    assert refused["WWW-Authenticate"] == "Bearer"
    assert error_of(client_of(is_staff=False).get("/api/v1/capacity")) == (403, "permission_denied")
    # Without a token in the settings an empty one opens nothing.
    assert error_of(client.get("/api/v1/capacity", headers={"Authorization": "Bearer "})) == (
        401,
        "authentication_failed",
    )


def test_a_process_that_serves_no_calls_has_no_figures() -> None:
    assert error_of(client_of(is_staff=True).get("/api/v1/capacity")) == (503, "figures_unavailable")


def test_every_error_has_the_same_shape(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(client.get("/api/v1/nothing/here")) == (404, "not_found")
    assert error_of(client.post("/api/v1/")) == (404, "not_found")
    operator = client_of(is_staff=True)
    assert error_of(operator.delete("/api/v1/capacity")) == (405, "method_not_allowed")

    def broken() -> None:
        raise RuntimeError("secret details")

    monkeypatch.setattr(here, "observer", broken)
    failed = operator.get("/api/v1/capacity")
    assert error_of(failed) == (500, "internal_error")
    assert b"secret" not in failed.content


@pytest.mark.parametrize("path", ["/api/v1/docs/", "/api/v1/docs", "/api/v1/schema/", "/api/v1/schema"])
def test_schema_and_page_are_open_to_anyone(client: Client, path: str) -> None:
    assert client.get(path, REMOTE_ADDR="203.0.113.9").status_code == 200


def test_the_page_takes_nothing_from_elsewhere(client: Client) -> None:
    page = client.get("/api/v1/docs/")
    text, policy = page.content.decode(), page["Content-Security-Policy"]
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(links) == 5
    assert all(link.startswith(("/", "data:")) and not link.startswith("//") for link in links)
    assert not re.search(r"<script(?! src=)|\son\w+=|style=", text)
    nonce = re.search(r'nonce="([^"]+)"', text)
    assert nonce is not None
    assert f"style-src 'self' 'nonce-{nonce[1]}'" in policy
    assert policy.startswith("default-src 'none'; script-src 'self';")
    static = [link.removeprefix("/static/") for link in links if link.startswith("/static/")]
    assert len(static) == 3
    assert all(finders.find(path) for path in static)
    script = next(link for link in links if link.endswith("?script=")).replace("&amp;", "&")
    assert b"SwaggerUIBundle" in client.get(script).content


def test_the_schema_documents_what_is_served(client: Client) -> None:
    schema = client.get("/api/v1/schema/", headers={"Accept": "application/vnd.oai.openapi+json"}).json()
    capacity = schema["paths"]["/api/v1/capacity"]["get"]
    assert set(capacity["responses"]) == {"200", "401", "403", "503"}
    assert capacity["security"] == [{"bearerToken": []}, {"operatorSession": []}]
    assert set(schema["components"]["schemas"]["Capacity"]["properties"]) == set(OverviewSerializer().fields)
    assert list(schema["components"]["schemas"]["ApiError"]["properties"]) == ["error"]
