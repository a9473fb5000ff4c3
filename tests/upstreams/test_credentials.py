"""Where a route's credential may come from, how it is replaced, and who hears when it is missing."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from apps.accounts import revisions
from apps.accounts.models import AuditEvent, OperatorAlert
from apps.catalog.services import load_catalog
from apps.upstreams import services
from apps.upstreams.cache import RouteCache
from apps.upstreams.credential_text import RouteMistake
from apps.upstreams.credentials import seal, unseal
from apps.upstreams.models import Route

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def directory(settings: Settings, tmp_path: Path) -> Path:
    load_catalog()
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    settings.ENVIRONMENT = replace(settings.ENVIRONMENT, credential_dir=secrets)
    return secrets


def add(**options: Any) -> Route:
    return services.add_route(
        model_id="gpt-5-5",
        provider="openai",
        dialects=["openai-chat"],
        base_url="https://api.openai.com/v1",
        upstream_model="gpt-5.5",
        actor="root",
        **options,
    )


def credential(cache: RouteCache) -> str:
    (route,) = cache.of("gpt-5-5", dialects=())
    return route.credential


def loaded() -> RouteCache:
    cache = RouteCache()
    cache.load(revisions.current()[revisions.ROUTES])
    return cache


def test_a_file_is_read_again_when_it_changes(directory: Path) -> None:
    file = directory / "openai"
    file.write_text("sk-old\n")
    add(credential_file="openai")
    cache = loaded()
    assert (credential(cache), cache.is_due) == ("sk-old", False)
    file.write_text("sk-new\n")
    assert cache.is_due
    cache.load(cache.revision)
    assert (credential(cache), cache.is_due) == ("sk-new", False)


def test_a_secret_mount_is_replaced_behind_a_link(directory: Path) -> None:
    for name, text in (("..1", "sk-old"), ("..2", "sk-new")):
        (directory / name).mkdir()
        (directory / name / "openai").write_text(text)
    (directory / "..data").symlink_to("..1")
    (directory / "openai").symlink_to("..data/openai")
    add(credential_file=str(directory / "openai"))
    assert Route.objects.get().credential_file == "openai"
    cache = loaded()
    assert credential(cache) == "sk-old"
    (directory / "..new").symlink_to("..2")
    os.replace(directory / "..new", directory / "..data")
    assert cache.is_due
    cache.load(cache.revision)
    assert credential(cache) == "sk-new"


def test_operators_hear_once_that_a_credential_is_missing_and_again_when_it_goes(directory: Path) -> None:
    route = add(credential_file="openai")
    cache = loaded()
    cache.load(cache.revision)
    alert = OperatorAlert.objects.get()
    assert (alert.kind, alert.subject, alert.times) == ("credential_missing", f"route {route.id}", 1)
    assert (credential(cache), cache.is_due) == ("", False)
    (directory / "openai").write_text("sk-1")
    assert cache.is_due
    cache.load(cache.revision)
    assert credential(cache) == "sk-1"
    (directory / "openai").unlink()
    cache.load(cache.revision)
    alert.refresh_from_db()
    assert alert.times == 2


def test_a_variable_that_is_not_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    add(credential_env="NO_SUCH_KEY")
    loaded()
    assert "NO_SUCH_KEY is not there" in OperatorAlert.objects.get().message


def test_a_route_that_wants_no_credential_lacks_none() -> None:
    add()
    loaded()
    assert not OperatorAlert.objects.exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret", "a/../../b", ".", ""])
def test_files_elsewhere_cannot_be_named(path: str) -> None:
    if not path:
        assert add(credential_file=path).credential_file == ""
        return
    with pytest.raises(RouteMistake, match="a credential file lies in"):
        add(credential_file=path)


def test_a_link_out_of_the_directory_is_not_followed(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("sk-not-for-upstreams")
    (directory / "openai").symlink_to(tmp_path / "other")
    add(credential_file="openai")
    assert loaded().of("gpt-5-5", dialects=()) == []
    message = OperatorAlert.objects.get().message
    assert ("leads out of" in message, "sk-not-for" in message) == (True, False)


@pytest.mark.parametrize("data", [b"two words", b"\xff\xfe", b"x" * 9_000, b"sk-1\nsk-2"])
def test_what_is_no_credential_leaves_its_route_out(directory: Path, data: bytes) -> None:
    (directory / "openai").write_bytes(data)
    add(credential_file="openai")
    assert loaded().of("gpt-5-5", dialects=()) == []
    assert OperatorAlert.objects.count() == 1


def test_giving_one_kind_removes_the_others() -> None:
    route = add(credential="sk-1")
    for given in ("credential_env", "credential_file", "credential"):
        changes: Any = {given: "NAME"}
        services.set_route(route_id=route.id, actor="root", **changes)
        route.refresh_from_db()
        column = "credential_sealed" if given == "credential" else given
        filled = [name for name in services.CREDENTIAL_COLUMNS if getattr(route, name)]
        assert filled == [column]


def test_a_credential_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    route = add(credential_env="OPENAI_API_KEY")
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-typed\n"))
    output = io.StringIO()
    call_command("set_route", str(route.id), "--credential-stdin", "--json", stdout=output)
    shown = json.loads(output.getvalue())
    assert (shown["has_stored_credential"], shown["credential_env"]) == (True, None)
    assert unseal(Route.objects.get().credential_sealed) == "sk-typed"
    assert "sk-typed" not in output.getvalue()
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(CommandError, match="standard input has no credential"):
        call_command("set_route", str(route.id), "--credential-stdin")


def reseal() -> tuple[int, Any]:
    output = io.StringIO()
    try:
        call_command("reseal_credentials", "--json", stdout=output)
    except SystemExit as ended:
        return int(str(ended.code)), json.loads(output.getvalue())
    return 0, json.loads(output.getvalue())


def test_all_credentials_move_under_the_newest_key(settings: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    with_keys = replace(settings.ENVIRONMENT, encryption_keys=(old,))
    settings.ENVIRONMENT = with_keys
    for number in range(3):
        add(credential=f"sk-{number}")
    settings.ENVIRONMENT = replace(with_keys, encryption_keys=(new, old))
    add(credential="sk-3")
    add(credential_env="OPENAI_API_KEY")
    revision = revisions.current()[revisions.ROUTES]
    assert reseal() == (0, {"resealed": 3, "unchanged": 1, "unreadable": []})
    assert reseal() == (0, {"resealed": 0, "unchanged": 4, "unreadable": []})
    assert AuditEvent.objects.filter(action="credentials.resealed").count() == 1
    assert revisions.current()[revisions.ROUTES] == revision
    settings.ENVIRONMENT = replace(with_keys, encryption_keys=(new,))
    sealed = Route.objects.exclude(credential_sealed="").order_by("id").values_list("credential_sealed", flat=True)
    assert [unseal(text) for text in sealed] == ["sk-0", "sk-1", "sk-2", "sk-3"]


def test_what_no_key_opens_is_named_and_stays() -> None:
    lost = add(credential="sk-0")
    Route.objects.update(credential_sealed=Fernet(Fernet.generate_key()).encrypt(b"sk-0").decode())
    add(credential="sk-1")
    status, told = reseal()
    assert (status, told) == (1, {"resealed": 0, "unchanged": 1, "unreadable": [str(lost.id)]})
    assert seal("x")  # the keys themselves are well
