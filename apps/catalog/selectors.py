"""Reads about models, their prices and their policies."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from apps.catalog.mistakes import CatalogMistake
from apps.catalog.models import InsuranceVersion, Model, Policy, PriceVersion
from apps.core.errors import rfc3339

POLICY_FIGURES: Final = (
    "concurrency",
    "rpm",
    "tpm",
    "ipm",
    "queue_seconds",
    "queue_length",
    "queue_tokens",
    "insurance_threshold_ms",
    "insurance_percent",
    "insurance_ms_per_output_token",
)


def find_model(model_id: str) -> Model:
    """The model with this id, enabled or not.

    Raises: CatalogMistake, where there is none.
    """
    model = Model.objects.filter(id=model_id).first()
    if model is None:
        raise CatalogMistake(f"no model with the id {model_id!r}")
    return model


def check_model_ids(model_ids: Iterable[str]) -> list[str]:
    """Return the ids, each once, in their order.

    Raises: CatalogMistake, for the first that the catalog does not have.
    """
    wanted = list(dict.fromkeys(model_ids))
    known = set(Model.objects.filter(id__in=wanted).values_list("id", flat=True))
    for model_id in wanted:
        if model_id not in known:
            raise CatalogMistake(f"no model with the id {model_id!r}")
    return wanted


def price_in_force(model_id: str, *, at: datetime) -> PriceVersion | None:
    """The version that prices a call at this instant: the latest to have begun, the newest of equals."""
    return (
        PriceVersion.objects.filter(model_id=model_id, effective_at__lte=at)
        .order_by("-effective_at", "-version")
        .first()
    )


def insurance_in_force(model_id: str, *, at: datetime) -> InsuranceVersion | None:
    """The version that insures a call admitted at this instant, by the same rule."""
    return (
        InsuranceVersion.objects.filter(model_id=model_id, effective_at__lte=at)
        .order_by("-effective_at", "-version")
        .first()
    )


def insurance_facts(version_id: uuid.UUID | None) -> dict[str, object] | None:
    """A version's figures; None where there is none."""
    version = None if version_id is None else InsuranceVersion.objects.filter(id=version_id).first()
    if version is None:
        return None
    return {
        "version": version.version,
        "effective_at": rfc3339(version.effective_at),
        "threshold_ms": version.threshold_ms,
        "percent": version.percent,
        "ms_per_output_token": version.ms_per_output_token,
    }


def model_facts(model: Model) -> dict[str, object]:
    """A model as `set_model --json` prints it."""
    return {
        "model": model.id,
        "name": model.name,
        "enabled": model.is_enabled,
        "surface": model.surface,
        "cli_only": model.cli_only,
        "cli_enforcement": model.cli_enforcement,
        "cli_entrypoints": model.cli_entrypoints,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "dialects": model.dialects,
    }


def policy_facts(policy: Policy) -> dict[str, object]:
    """A whole policy as `set_policy --json` prints it."""
    return {"model": policy.model_id, **{figure: getattr(policy, figure) for figure in POLICY_FIGURES}}
