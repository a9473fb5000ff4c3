"""The home page, the probes, the figures."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.db.utils import OperationalError
from django.test import Client
from pytest_django.fixtures import Settings

from hypereal import health
from hypereal.health import Metric, Sample
from hypereal.pages import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def wiring() -> Iterator[None]:
    yield
    health.forget("committer")


def test_the_home_page_says_what_this_is(client: Client) -> None:
    page = client.get("/")
    text = page.content.decode()
    assert page.status_code == 200
    assert all(endpoint.path in text for endpoint in ENDPOINTS)
    assert 'href="/admin/"' in text
    assert f"{settings.ENVIRONMENT.public_url}/v1/managed/chat/completions" in text


def test_nothing_on_the_home_page_comes_from_elsewhere(client: Client) -> None:
    page = client.get("/")
    policy = page["Content-Security-Policy"]
    nonces = re.findall(r'nonce="([^"]+)"', page.content.decode())
    assert policy.startswith(f"default-src 'none'; style-src 'nonce-{nonces[0]}'")
    assert len(nonces) == 1
    links = re.findall(r'(?:src|href)="([^"]*)"', page.content.decode())
    assert all(link.startswith(("/", "data:")) and not link.startswith("//") for link in links)


def test_claude_codes_probe_is_answered(client: Client) -> None:
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405


def test_alive_without_a_database(client: Client) -> None:
    reply = client.get("/healthz")
    assert (reply.status_code, reply.content) == (200, b"ok\n")
    assert "no-store" in reply["Cache-Control"]


@pytest.mark.django_db
def test_ready_when_the_database_answers(client: Client) -> None:
    reply = client.get("/readyz")
    assert (reply.status_code, reply.content) == (200, b"ready\n")


@pytest.mark.django_db
@pytest.mark.usefixtures("wiring")
def test_not_ready_while_a_part_is_not(client: Client) -> None:
    health.watch("committer", lambda: "not connected")
    reply = client.get("/readyz")
    assert (reply.status_code, reply.content) == (503, b"committer: not connected\n")
    health.watch("committer", lambda: None)
    assert client.get("/readyz").status_code == 200


def test_not_ready_without_a_database_and_no_word_why(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("connection to server at db.internal failed: password=secret")

    monkeypatch.setattr(connection, "cursor", away)
    reply = client.get("/readyz")
    assert (reply.status_code, reply.content) == (503, b"database: does not answer\n")


@pytest.mark.usefixtures("wiring")
def test_figures_in_prometheus_text_format(client: Client) -> None:
    health.publish(
        "committer",
        lambda: [Metric("hypereal_holds_open", "gauge", "Open holds.", [Sample(3, {"model": 'a"b\\c\n'}), Sample(0)])],
    )
    reply = client.get("/metrics")
    lines = reply.content.decode().splitlines()
    assert reply["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE hypereal_holds_open gauge" in lines
    assert r'hypereal_holds_open{model="a\"b\\c\n"} 3' in lines
    assert "hypereal_holds_open 0" in lines
    assert any(line.startswith('hypereal_info{version="0.1.0",mode=') for line in lines)
    assert all(re.fullmatch(r"#.*|[a-z_]+(\{.*\})? [0-9.e+-]+", line) for line in lines)


def test_figures_are_for_this_machine(client: Client) -> None:
    assert client.get("/metrics", REMOTE_ADDR="::1").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 403
    assert client.get("/metrics", REMOTE_ADDR="").status_code == 403


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_figures_do_not_leave_through_a_proxy_on_this_machine(client: Client, name: str) -> None:
    assert client.get("/metrics", headers={name: "127.0.0.1"}).status_code == 403


def test_figures_for_whoever_has_the_token(client: Client, settings: Settings) -> None:
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, metrics_token="the token")
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer another"}).status_code == 403
    told = client.get("/metrics", headers={"Authorization": "Bearer the token"}, REMOTE_ADDR="203.0.113.9")
    assert told.status_code == 200


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == health.VERSION
