"""The catalog as the hot path sees it: models with the price in force, bounds and policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.accounts import revisions
from apps.catalog.models import InsuranceVersion, Model, Policy, PriceVersion
from apps.catalog.pricing import Price
from apps.catalog.rules import DEFAULT_OVERHEAD_TOKENS, Bounds, Capacity, InsurancePolicy
from apps.core import clock


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """One enabled model."""

    model_id: str
    name: str
    surface: str
    context_tokens: int
    max_output_tokens: int | None
    cli_only: bool
    dialects: tuple[str, ...]
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    created_at: datetime
    max_tokens_field: str
    bounds: Bounds
    price: Price
    capacity: Capacity
    insurance: InsurancePolicy | None
    """None: its calls are not insured."""
    cli_entrypoints: frozenset[str] = frozenset()
    """Those that may call it beside the CLI's own, where it is CLI-only."""
    enforces_cli: bool = True
    """False: what is not the CLI's is recorded and served."""


class CatalogCache:
    topic = revisions.CATALOG

    def __init__(self) -> None:
        self.revision = -1
        self._models: dict[str, ModelSnapshot] = {}
        self._next_price_at: datetime | None = None

    def get(self, model_id: str) -> ModelSnapshot | None:
        return self._models.get(model_id)

    def all(self) -> list[ModelSnapshot]:
        """Every enabled model, by id."""
        return list(self._models.values())

    @property
    def is_due(self) -> bool:
        """Whether a price that was entered ahead of time has come into force since the last load."""
        return self._next_price_at is not None and clock.now() >= self._next_price_at

    def load(self, revision: int) -> None:
        now = clock.now()
        policies = {policy.model_id: policy for policy in Policy.objects.all()}
        prices: dict[str, PriceVersion] = {}
        coming: list[datetime] = []
        for version in PriceVersion.objects.order_by("effective_at", "version"):
            if version.effective_at <= now:
                prices[version.model_id] = version
            else:
                coming.append(version.effective_at)
        insured = {
            version.model_id: version
            for version in InsuranceVersion.objects.filter(effective_at__lte=now).order_by("effective_at", "version")
        }
        self._models = {
            model.id: _snapshot(model, prices[model.id], policies[model.id], insured.get(model.id))
            for model in Model.objects.filter(is_enabled=True).order_by("id")
            if model.id in prices and model.id in policies
        }
        self._next_price_at = min(coming, default=None)
        self.revision = revision


def _snapshot(model: Model, price: PriceVersion, policy: Policy, insurance: InsuranceVersion | None) -> ModelSnapshot:
    return ModelSnapshot(
        model_id=model.id,
        name=model.name,
        surface=model.surface,
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        cli_only=model.cli_only,
        dialects=tuple(model.dialects),
        input_modalities=tuple(model.input_modalities),
        output_modalities=tuple(model.output_modalities),
        created_at=model.created_at,
        max_tokens_field=model.max_tokens_field,
        bounds=read_bounds(model.bounds),
        price=Price(
            version_id=price.id,
            input=price.input,
            output=price.output,
            cache_read=price.cache_read,
            cache_write=price.cache_write,
            cache_write_1h=price.cache_write_1h,
            server_tool_request=price.server_tool_request,
            modifiers=price.modifiers,
        ),
        capacity=Capacity(
            concurrency=policy.concurrency,
            rpm=policy.rpm,
            tpm=policy.tpm,
            ipm=policy.ipm,
            queue_s=policy.queue_seconds,
            queue_length=policy.queue_length,
            queue_tokens=policy.queue_tokens,
        ),
        insurance=None
        if insurance is None or not insurance.percent
        else InsurancePolicy(
            version_id=insurance.id,
            threshold_ms=insurance.threshold_ms,
            percent=insurance.percent,
            ms_per_output_token=insurance.ms_per_output_token,
        ),
        cli_entrypoints=frozenset(model.cli_entrypoints),
        enforces_cli=model.cli_enforcement == Model.CliEnforcement.ENFORCE,
    )


def read_bounds(stored: Mapping[str, Any]) -> Bounds:
    """A model's `bounds` column. Decimals are text there, such as "2.0", and thousandths here."""
    defaults = Bounds()
    return Bounds(
        bytes_per_thousand_tokens=_thousandths(
            stored.get("bytes_per_token_floor"), default=defaults.bytes_per_thousand_tokens
        ),
        image_input_tokens=stored.get("image_input_tokens", defaults.image_input_tokens),
        document_input_tokens_per_page=stored.get(
            "document_input_tokens_per_page", defaults.document_input_tokens_per_page
        ),
        audio_input_tokens=stored.get("audio_input_tokens"),
        server_tool_input_tokens=stored.get("server_tool_input_tokens", defaults.server_tool_input_tokens),
        reasoning_tokens=stored.get("reasoning_tokens", defaults.reasoning_tokens),
        overhead_tokens=stored.get("overhead_tokens", DEFAULT_OVERHEAD_TOKENS),
        image_output_tokens=dict(stored.get("image_output_tokens", {})),
        tokenizer=stored.get("tokenizer", defaults.tokenizer),
        tokenizer_factor_thousandths=_thousandths(
            stored.get("tokenizer_factor"), default=defaults.tokenizer_factor_thousandths
        ),
    )


def _thousandths(text: str | None, *, default: int) -> int:
    return default if text is None else int(Decimal(text) * 1_000)
