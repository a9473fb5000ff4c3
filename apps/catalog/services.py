"""Changes to the catalog: one transaction, one revision, one audit event each. Prices are added, never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypedDict, Unpack

from django.db import transaction
from django.db.models import Max

from apps.accounts import audit, revisions
from apps.accounts.mistakes import BIG_INTEGER_MAX, POSITIVE_INTEGER_MAX, check_choice, check_range
from apps.catalog.catalog_file import ModelRow, Prices, check_prices, read_catalog
from apps.catalog.mistakes import CatalogMistake
from apps.catalog.models import InsuranceVersion, Model, Policy, PriceVersion
from apps.catalog.selectors import find_model, insurance_in_force, price_in_force
from apps.core.clock import now

SHIPPED_CATALOG: Final = Path(__file__).with_name("catalog.json")


class PolicyFigures(TypedDict, total=False):
    """What `set_policy` may change; a key that is absent stays as it is."""

    concurrency: int
    rpm: int
    tpm: int
    ipm: int | None
    queue_seconds: int
    queue_length: int
    queue_tokens: int
    insurance_threshold_ms: int
    insurance_percent: int
    insurance_ms_per_output_token: int


class ModelChanges(TypedDict, total=False):
    """What `set_model` may change; a key that is absent stays as it is."""

    is_enabled: bool
    cli_enforcement: str
    cli_entrypoints: Iterable[str]
    """Beside the CLI's own."""


ENTRYPOINT: Final = re.compile(r"[a-z0-9_-]{1,40}")

TEXT_POLICY: Final[PolicyFigures] = {
    "concurrency": 80,
    "rpm": 15_000,
    "tpm": 40_000_000,
    "ipm": None,
    "queue_seconds": 5,
    "queue_length": 64,
    "queue_tokens": 15_000_000_000,
}
IMAGE_POLICY: Final[PolicyFigures] = {
    "concurrency": 80,
    "rpm": 15_000,
    "tpm": 8_000_000,
    "ipm": 250,
    "queue_seconds": 0,
    "queue_length": 0,
    "queue_tokens": 0,
}
DEFAULT_POLICIES: Final[dict[str, PolicyFigures]] = {"text": TEXT_POLICY, "image": IMAGE_POLICY}

LEAST_FIGURES: Final[dict[str, int]] = {"concurrency": 1, "rpm": 1, "tpm": 1, "ipm": 1}
"""What may not be 0; every other figure of a policy may."""
MOST_FIGURES: Final[dict[str, int]] = {
    "tpm": BIG_INTEGER_MAX,
    "queue_tokens": BIG_INTEGER_MAX,
    "insurance_percent": 100,
}


@dataclass(frozen=True, slots=True)
class LoadResult:
    """How many models the file has, how many of them were new, how many got another price."""

    models: int
    created: int
    repriced: int


def load_catalog(path: Path = SHIPPED_CATALOG, *, actor: str = audit.COMMAND_LINE) -> LoadResult:
    """Create or update the models of a catalog file, whole or not at all; loading it again changes nothing.

    What operators decide (enabled or not, policies) stays. Models that the file does not name stay too.
    Raises: CatalogMistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise CatalogMistake(f"cannot read {path}: {failure}") from None
    rows = read_catalog(text)
    with transaction.atomic():
        revision = revisions.bump(revisions.CATALOG)  # also lets one load at a time through
        created = repriced = 0
        for row in rows:
            model, is_new, differs = _upsert(row)
            price_differs = _reprice(model, row.prices, is_new=is_new)
            if is_new or differs or price_differs:
                model.revision = revision
                model.save(update_fields=["revision"])
            created += is_new
            repriced += price_differs and not is_new
        result = LoadResult(models=len(rows), created=created, repriced=repriced)
        audit.record(actor=actor, action="catalog.loaded", target=path.name, detail=asdict(result))
    return result


@transaction.atomic
def set_model(*, model_id: str, actor: str, **changes: Unpack[ModelChanges]) -> Model:
    """Change what operators decide about a model; writes nothing where nothing differs.

    Raises: CatalogMistake, Mistake.
    """
    find_model(model_id)
    model = Model.objects.select_for_update().get(id=model_id)
    changed = audit.assign(model, _decided(changes))
    if changed:
        model.revision = revisions.bump(revisions.CATALOG)
        model.save(update_fields=[*changed, "revision"])
        audit.record(actor=actor, action="model.changed", target=model, detail=changed)
    return model


@transaction.atomic
def add_price(*, model_id: str, prices: Prices, actor: str, effective_at: datetime | None = None) -> PriceVersion:
    """Price a model anew from `effective_at` on (now, where None).

    Raises: CatalogMistake, where the instant is past or the prices do not add up.
    """
    model = find_model(model_id)
    moment = now()
    if effective_at is not None and effective_at < moment:
        raise CatalogMistake("a price cannot take effect in the past")
    revision = revisions.bump(revisions.CATALOG)
    price = _add_version(model, check_prices(prices), effective_at=effective_at or moment)
    Model.objects.filter(id=model_id).update(revision=revision)
    audit.record(
        actor=actor,
        action="price.added",
        target=price,
        detail={**asdict(prices), "effective_at": price.effective_at},
    )
    return price


@transaction.atomic
def set_policy(*, model_id: str, actor: str, **figures: Unpack[PolicyFigures]) -> Policy:
    """Change a model's policy; writes nothing where nothing differs. Other figures of its insurance become a version.

    Raises: CatalogMistake, Mistake.
    """
    model = find_model(model_id)
    policy, _ = Policy.objects.select_for_update().get_or_create(model=model, defaults=DEFAULT_POLICIES[model.surface])
    changed = audit.assign(policy, _checked(figures))
    is_insured_anew = _insure(policy)
    if changed or is_insured_anew:
        policy.save()
        Model.objects.filter(id=model_id).update(revision=revisions.bump(revisions.CATALOG))
        audit.record(actor=actor, action="policy.changed", target=model, detail=changed)
    return policy


def check_entrypoints(entrypoints: Iterable[str]) -> list[str]:
    """Return the entrypoints, each once.

    Raises: CatalogMistake, for what a User-Agent cannot name.
    """
    checked = list(dict.fromkeys(entrypoints))
    for name in checked:
        if not ENTRYPOINT.fullmatch(name):
            raise CatalogMistake(f"not an entrypoint of the CLI: {name!r}; they look like claude-vscode")
    return checked


def _decided(changes: ModelChanges) -> dict[str, object]:
    columns: dict[str, object] = {}
    if "is_enabled" in changes:
        columns["is_enabled"] = changes["is_enabled"]
    if "cli_enforcement" in changes:
        columns["cli_enforcement"] = check_choice(
            changes["cli_enforcement"], "CLI enforcement", Model.CliEnforcement.values
        )
    if "cli_entrypoints" in changes:
        columns["cli_entrypoints"] = check_entrypoints(changes["cli_entrypoints"])
    return columns


def _upsert(row: ModelRow) -> tuple[Model, bool, bool]:
    """The row's model, whether it is new, whether it differed."""
    model, is_new = Model.objects.get_or_create(id=row.id, defaults=dict(row.columns))
    changed = audit.assign(model, row.columns)
    if changed:
        model.save()
    policy, has_new_policy = Policy.objects.get_or_create(model=model, defaults=DEFAULT_POLICIES[row.surface])
    is_insured_anew = _insure(policy)
    return model, is_new, bool(changed) or has_new_policy or is_insured_anew


def _insure(policy: Policy) -> bool:
    """Make the policy's figures those in force from now on; whether they were others."""
    moment = now()
    figures = {
        "threshold_ms": policy.insurance_threshold_ms,
        "percent": policy.insurance_percent,
        "ms_per_output_token": policy.insurance_ms_per_output_token,
    }
    current = insurance_in_force(policy.model_id, at=moment)
    if current is not None and all(getattr(current, name) == figure for name, figure in figures.items()):
        return False
    of_model = InsuranceVersion.objects.filter(model_id=policy.model_id)
    newest = of_model.aggregate(Max("version"))["version__max"] or 0
    InsuranceVersion.objects.create(model_id=policy.model_id, version=newest + 1, effective_at=moment, **figures)
    return True


def _reprice(model: Model, prices: Prices, *, is_new: bool) -> bool:
    """Add a version where the file's prices are not those in force; whether it did."""
    moment = now()
    current = None if is_new else price_in_force(model.id, at=moment)
    if current is not None and prices == _prices_of(current):
        return False
    _add_version(model, prices, effective_at=moment)
    return True


def _add_version(model: Model, prices: Prices, *, effective_at: datetime) -> PriceVersion:
    newest = PriceVersion.objects.filter(model=model).aggregate(Max("version"))["version__max"] or 0
    return PriceVersion.objects.create(model=model, version=newest + 1, effective_at=effective_at, **asdict(prices))


def _prices_of(version: PriceVersion) -> Prices:
    return Prices(
        input=version.input,
        output=version.output,
        cache_read=version.cache_read,
        cache_write=version.cache_write,
        cache_write_1h=version.cache_write_1h,
        server_tool_request=version.server_tool_request,
        modifiers=version.modifiers,
    )


def _checked(figures: PolicyFigures) -> dict[str, object]:
    for name, value in figures.items():
        check_range(
            value if isinstance(value, int) else None,
            name.replace("_", " "),
            least=LEAST_FIGURES.get(name, 0),
            most=MOST_FIGURES.get(name, POSITIVE_INTEGER_MAX),
        )
    return dict(figures)
