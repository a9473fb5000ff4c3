"""The catalog changes by whole files, by price versions and by policies; each change reaches the pollers."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts import revisions
from apps.accounts.mistakes import Mistake
from apps.accounts.models import AuditEvent
from apps.catalog import services
from apps.catalog.cache import CatalogCache
from apps.catalog.catalog_file import Prices
from apps.catalog.mistakes import CatalogMistake
from apps.catalog.models import InsuranceVersion, Model, Policy, PriceVersion
from apps.catalog.rules import InsurancePolicy
from apps.catalog.selectors import insurance_in_force, policy_facts, price_in_force
from apps.core.clock import now

pytestmark = pytest.mark.django_db


@pytest.fixture
def catalog() -> services.LoadResult:
    return services.load_catalog()


def edited(tmp_path: Path, model_id: str, **changes: Any) -> Path:
    """The shipped catalog with other prices (or fields) of one model."""
    content = json.loads(services.SHIPPED_CATALOG.read_text())
    row = next(row for row in content["models"] if row["id"] == model_id)
    for name, value in changes.items():
        target = row["usd_per_million_tokens"] if name in row["usd_per_million_tokens"] else row
        target[name] = value
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(content))
    return path


def versions(model_id: str) -> list[tuple[int, int]]:
    return list(PriceVersion.objects.filter(model_id=model_id).order_by("version").values_list("version", "input"))


def test_loading_makes_every_model_with_a_price_and_the_policy_of_its_surface(catalog: services.LoadResult) -> None:
    assert catalog == services.LoadResult(models=16, created=16, repriced=0)
    assert PriceVersion.objects.count() == Policy.objects.count() == 16
    assert policy_facts(Policy.objects.get(model_id="gpt-5-5")) == {
        "model": "gpt-5-5",
        "concurrency": 80,
        "rpm": 15_000,
        "tpm": 40_000_000,
        "ipm": None,
        "queue_seconds": 5,
        "queue_length": 64,
        "queue_tokens": 15_000_000_000,
        "insurance_threshold_ms": 90_000,
        "insurance_percent": 25,
        "insurance_ms_per_output_token": 25,
    }
    image = policy_facts(Policy.objects.get(model_id="gpt-image-2"))
    assert (image["tpm"], image["ipm"], image["queue_seconds"], image["queue_length"]) == (8_000_000, 250, 0, 0)


def test_loading_again_changes_nothing(catalog: services.LoadResult) -> None:
    before = list(Model.objects.values())
    assert services.load_catalog() == services.LoadResult(models=16, created=0, repriced=0)
    assert list(Model.objects.values()) == before
    assert PriceVersion.objects.count() == 16


def test_another_price_becomes_a_version_and_stamps_its_model(catalog: services.LoadResult, tmp_path: Path) -> None:
    result = services.load_catalog(edited(tmp_path, "gpt-5-5", input="6"))
    assert result == services.LoadResult(models=16, created=0, repriced=1)
    assert versions("gpt-5-5") == [(1, 525_000_000), (2, 600_000_000)]
    newest = revisions.current()[revisions.CATALOG]
    assert list(Model.objects.filter(revision=newest).values_list("id", flat=True)) == ["gpt-5-5"]


def test_a_file_with_one_bad_price_changes_nothing_at_all(catalog: services.LoadResult, tmp_path: Path) -> None:
    before = revisions.current()
    path = edited(tmp_path, "gpt-image-2", output=None)
    path.write_text(path.read_text().replace('"input": "5.25"', '"input": "9.99"'))
    with pytest.raises(CatalogMistake, match="gpt-image-2: output has no price"):
        services.load_catalog(path)
    assert revisions.current() == before
    assert PriceVersion.objects.count() == 16


def test_what_operators_decided_survives_a_load(catalog: services.LoadResult, tmp_path: Path) -> None:
    services.set_model(model_id="gpt-5-5", is_enabled=False, actor="root")
    services.set_policy(model_id="gpt-5-5", actor="root", concurrency=3)
    services.load_catalog(edited(tmp_path, "gpt-5-5", name="GPT-5.5 again"))
    model = Model.objects.get(id="gpt-5-5")
    assert (model.name, model.is_enabled, model.policy.concurrency) == ("GPT-5.5 again", False, 3)


def test_a_price_takes_effect_at_its_instant(catalog: services.LoadResult) -> None:
    later = now() + timedelta(hours=1)
    prices = Prices(input=1, output=2, cache_write=3)
    added = services.add_price(model_id="gpt-5-5", prices=prices, effective_at=later, actor="root")
    assert (added.version, added.cache_write_1h) == (2, 2)
    today, tomorrow = price_in_force("gpt-5-5", at=now()), price_in_force("gpt-5-5", at=later)
    assert today is not None
    assert tomorrow is not None
    assert (today.version, tomorrow.version) == (1, 2)


def test_no_price_is_set_for_the_past_or_below_zero(catalog: services.LoadResult) -> None:
    with pytest.raises(CatalogMistake, match="cannot take effect in the past"):
        services.add_price(
            model_id="gpt-5-5", prices=Prices(1, 1), effective_at=now() - timedelta(seconds=1), actor="root"
        )
    with pytest.raises(CatalogMistake, match="the price of output is negative"):
        services.add_price(model_id="gpt-5-5", prices=Prices(1, -1), actor="root")
    with pytest.raises(CatalogMistake, match="no model with the id 'gpt-9'"):
        services.add_price(model_id="gpt-9", prices=Prices(1, 1), actor="root")
    assert versions("gpt-5-5") == [(1, 525_000_000)]


@pytest.mark.parametrize(
    ("figures", "line"),
    [
        ({"concurrency": 0}, "concurrency must be from 1 to 2147483647, not 0"),
        ({"ipm": 0}, "ipm must be from 1 to 2147483647, not 0"),
        ({"queue_seconds": -1}, "queue seconds must be from 0 to 2147483647, not -1"),
        ({"insurance_percent": 101}, "insurance percent must be from 0 to 100, not 101"),
        ({"tpm": 2**53}, "tpm must be from 1 to 9007199254740991, not 9007199254740992"),
    ],
)
def test_a_policy_refuses_figures_that_mean_nothing(
    catalog: services.LoadResult, figures: services.PolicyFigures, line: str
) -> None:
    with pytest.raises(Mistake) as refused:
        services.set_policy(model_id="gpt-5-5", actor="root", **figures)
    assert str(refused.value) == line


def test_a_changed_policy_stamps_its_model_and_is_audited(catalog: services.LoadResult) -> None:
    services.set_policy(model_id="gpt-5-5", actor="root", rpm=10, ipm=None)
    assert Model.objects.get(id="gpt-5-5").revision == revisions.current()[revisions.CATALOG] == 2
    event = AuditEvent.objects.order_by("-id")[0]
    assert (event.actor, event.action, event.detail) == ("root", "policy.changed", {"rpm": [15_000, 10]})
    services.set_policy(model_id="gpt-5-5", actor="root", rpm=10)
    assert revisions.current()[revisions.CATALOG] == 2


def run_json(name: str, *arguments: str) -> Any:
    output = StringIO()
    call_command(name, *arguments, "--json", stdout=output)
    return json.loads(output.getvalue())


def test_commands_print_what_scripts_rely_on(tmp_path: Path) -> None:
    assert run_json("load_catalog") == {"models": 16, "created": 16, "repriced": 0}
    path = edited(tmp_path, "gpt-5-5", output="32")
    assert run_json("load_catalog", str(path)) == {"models": 16, "created": 0, "repriced": 1}
    policy = run_json("set_policy", "gpt-image-2", "--ipm", "9", "--queue-tokens", "15000000000")
    assert (policy["model"], policy["ipm"], policy["queue_tokens"]) == ("gpt-image-2", 9, 15_000_000_000)
    assert run_json("set_policy", "gpt-image-2", "--ipm", "none")["ipm"] is None
    disabled = run_json("set_model", "gpt-5-5", "--disable")
    assert (disabled["model"], disabled["enabled"]) == ("gpt-5-5", False)
    assert run_json("set_model", "gpt-5-5", "--enable")["enabled"] is True


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("set_model", "gpt-9", "--enable"), "no model with the id 'gpt-9'"),
        (("set_policy", "gpt-9", "--rpm", "1"), "no model with the id 'gpt-9'"),
        (("set_policy", "gpt-5-5", "--rpm", "none"), "rpm must be a number: only ipm may be none"),
        (("set_policy", "gpt-5-5", "--rpm", "1.5"), "not a whole number: '1.5'"),
        (("load_catalog", "/nowhere/catalog.json"), "cannot read /nowhere/catalog.json"),
    ],
)
def test_commands_refuse_with_one_line(catalog: services.LoadResult, arguments: tuple[str, ...], line: str) -> None:
    with pytest.raises(CommandError, match=line):
        call_command(*arguments)


def promises(model_id: str) -> list[tuple[int, int, int, int]]:
    """`(version, threshold, percent, per token)` of all that insurance promised for a model."""
    versions = InsuranceVersion.objects.filter(model_id=model_id).order_by("version")
    return list(versions.values_list("version", "threshold_ms", "percent", "ms_per_output_token"))


def test_every_policy_begins_with_a_version_of_its_insurance(catalog: services.LoadResult) -> None:
    assert InsuranceVersion.objects.count() == 16
    assert promises("gpt-5-5") == [(1, 90_000, 25, 25)]
    services.load_catalog()
    assert InsuranceVersion.objects.count() == 16


def test_other_figures_of_insurance_are_a_version_and_the_former_one_stays(catalog: services.LoadResult) -> None:
    before = now()
    services.set_policy(model_id="gpt-5-5", actor="root", insurance_percent=50)
    services.set_policy(model_id="gpt-5-5", actor="root", insurance_percent=50, rpm=7)
    services.set_policy(
        model_id="gpt-5-5", actor="root", insurance_threshold_ms=60_000, insurance_ms_per_output_token=0
    )
    assert promises("gpt-5-5") == [(1, 90_000, 25, 25), (2, 90_000, 50, 25), (3, 60_000, 50, 0)]
    was, is_now = insurance_in_force("gpt-5-5", at=before), insurance_in_force("gpt-5-5", at=now())
    assert was is not None
    assert is_now is not None
    assert (was.version, is_now.version) == (1, 3)


def test_the_hot_path_sees_the_version_in_force_and_none_that_pays_nothing(catalog: services.LoadResult) -> None:
    services.set_policy(model_id="gpt-5-5", actor="root", insurance_percent=50)
    services.set_policy(model_id="gpt-image-2", actor="root", insurance_percent=0)
    cache = CatalogCache()
    cache.load(1)
    model, off = cache.get("gpt-5-5"), cache.get("gpt-image-2")
    assert model is not None
    assert off is not None
    newest = InsuranceVersion.objects.get(model_id="gpt-5-5", version=2)
    assert model.insurance == InsurancePolicy(newest.id, 90_000, 50, 25)
    assert off.insurance is None


def test_policies_of_before_get_their_first_version(catalog: services.LoadResult) -> None:
    InsuranceVersion.objects.all().delete()
    services.set_policy(model_id="gpt-5-5", actor="root")
    assert promises("gpt-5-5") == [(1, 90_000, 25, 25)]
    services.load_catalog()
    assert InsuranceVersion.objects.count() == 16


def test_a_cli_only_model_is_kept_to_the_cli_as_its_operator_decides() -> None:
    model = "claude-opus-4-7-max"
    services.load_catalog()
    shown = run_json("set_model", model)
    assert (shown["cli_enforcement"], shown["cli_entrypoints"]) == ("enforce", [])
    run_json("set_model", model, "--cli-enforcement", "record", "--cli-entrypoints", "claude-vscode,sdk-ts")
    services.load_catalog()  # a file states facts, operators decide
    shown = run_json("set_model", model)
    assert (shown["enabled"], shown["cli_enforcement"]) == (True, "record")
    assert shown["cli_entrypoints"] == ["claude-vscode", "sdk-ts"]
    cache = CatalogCache()
    cache.load(1)
    snapshot = cache.get(model)
    assert snapshot is not None
    assert (snapshot.enforces_cli, snapshot.cli_entrypoints) == (False, {"claude-vscode", "sdk-ts"})
    assert run_json("set_model", model, "--cli-entrypoints", "none")["cli_entrypoints"] == []
    for wrong, line in (
        (["--cli-enforcement", "perhaps"], "use one of enforce, record"),
        (["--cli-entrypoints", "VS Code"], "not an entrypoint"),
    ):
        with pytest.raises(CommandError, match=line):
            call_command("set_model", model, *wrong)
