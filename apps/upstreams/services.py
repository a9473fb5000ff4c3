"""Changes to routes: one transaction, one revision, one audit event each."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict, Unpack
from urllib.parse import urlsplit

from django.db import transaction

from apps.accounts import audit, revisions
from apps.accounts.mistakes import check_choice, check_range, clean_line
from apps.catalog.catalog_file import DIALECTS
from apps.catalog.selectors import find_model
from apps.upstreams.credential_files import check_file
from apps.upstreams.credential_text import RouteMistake, check_credential
from apps.upstreams.credentials import is_newest, seal, unseal
from apps.upstreams.models import Route

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OWN_VARIABLES: Final = frozenset(
    {
        "SECRET_KEY",
        "HYPEREAL_KEY_PEPPER",
        "HYPEREAL_ENCRYPTION_KEYS",
        "HYPEREAL_METRICS_TOKEN",
        "DATABASE_URL",
        "REDIS_URL",
        "EMAIL_URL",
    }
)
"""The installation's own secrets: a route must not send one to a provider."""
TIMEOUTS: Final = ("connect_timeout_ms", "first_byte_timeout_ms", "idle_timeout_ms", "total_timeout_ms")

CREDENTIAL_COLUMNS: Final = ("credential_sealed", "credential_env", "credential_file")


class RouteOptions(TypedDict, total=False):
    """What a route may be given beyond where it leads.

    A route has one credential: `credential` is stored sealed, the others name a variable or a file. Giving one removes
    the others; empty removes it.
    """

    credential: str
    credential_env: str
    credential_file: str
    weight: int
    priority: int
    is_enabled: bool
    exposes_model: bool
    keeps_state: bool
    connect_timeout_ms: int
    first_byte_timeout_ms: int
    idle_timeout_ms: int
    total_timeout_ms: int


class RouteChanges(RouteOptions, total=False):
    """What `set_route` may change; a key that is absent stays as it is."""

    provider: str
    dialects: Sequence[str]
    base_url: str
    upstream_model: str


@transaction.atomic
def add_route(
    *,
    model_id: str,
    provider: str,
    dialects: Sequence[str],
    base_url: str,
    upstream_model: str,
    actor: str,
    **options: Unpack[RouteOptions],
) -> Route:
    """Give a model an upstream.

    Raises: CatalogMistake, RouteMistake, Mistake.
    """
    model = find_model(model_id)
    changes: RouteChanges = {
        **options,
        "provider": provider,
        "dialects": dialects,
        "base_url": base_url,
        "upstream_model": upstream_model,
    }
    route = Route(model=model, **_columns(changes), revision=revisions.bump(revisions.ROUTES))
    route.save()
    detail = {"route_id": route.id, "base_url": route.base_url}
    audit.record(actor=actor, action="route.added", target=route, detail=detail)
    return route


@transaction.atomic
def set_route(*, route_id: uuid.UUID, actor: str, **changes: Unpack[RouteChanges]) -> Route:
    """Change a route; writes nothing where nothing differs.

    Raises: RouteMistake, Mistake.
    """
    route = Route.objects.select_for_update().filter(id=route_id).first()
    if route is None:
        raise RouteMistake(f"no route with the id '{route_id}'")
    changed = audit.assign(route, _columns(changes))
    if changed:
        route.revision = revisions.bump(revisions.ROUTES)
        route.save()
        if "credential_sealed" in changed:
            changed["credential_sealed"] = ["sealed" if text else "none" for text in changed["credential_sealed"]]
        audit.record(actor=actor, action="route.changed", target=route, detail={"route_id": route.id, **changed})
    return route


@transaction.atomic
def remove_route(*, route_id: uuid.UUID, actor: str) -> None:
    """Delete a route. Whoever polls reads all routes again when the topic's revision changed, so it is missed at once.

    Raises: RouteMistake.
    """
    route = Route.objects.select_for_update().filter(id=route_id).first()
    if route is None:
        raise RouteMistake(f"no route with the id '{route_id}'")
    revisions.bump(revisions.ROUTES)
    audit.record(actor=actor, action="route.removed", target=route, detail={"route_id": route.id})
    route.delete()


@dataclass(frozen=True, slots=True)
class Resealed:
    """What became of the stored credentials."""

    resealed: int
    unchanged: int
    unreadable: list[str]
    """Routes whose credential none of the keys opens: it must be given again."""


@transaction.atomic
def reseal(*, actor: str) -> Resealed:
    """Seal every stored credential under the newest encryption key. The credentials stay what they are."""
    resealed, unchanged, unreadable = 0, 0, []
    for route in Route.objects.select_for_update().exclude(credential_sealed="").order_by("id"):
        if is_newest(route.credential_sealed):
            unchanged += 1
            continue
        try:
            route.credential_sealed = seal(unseal(route.credential_sealed))
        except RouteMistake:
            unreadable.append(str(route.id))
            continue
        route.save(update_fields=["credential_sealed"])
        resealed += 1
    if resealed:
        detail = {"resealed": resealed, "unreadable": unreadable}
        audit.record(actor=actor, action="credentials.resealed", target="routes", detail=detail)
    return Resealed(resealed, unchanged, unreadable)


def check_base_url(url: str) -> str:
    """Return the URL without a slash at its end.

    Raises: RouteMistake, for anything but http(s), a host, and a path.
    """
    url = clean_line(url, "the base URL", most=300).rstrip("/")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise RouteMistake(f"not a URL: {url}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RouteMistake("the base URL must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise RouteMistake("the base URL must not carry a user or password: use the credential")
    if "?" in url or "#" in url:
        raise RouteMistake("the base URL must not have a query or a fragment")
    if any(character.isspace() for character in url):
        raise RouteMistake("the base URL must not have spaces")
    return url


def check_dialects(dialects: Sequence[str]) -> list[str]:
    """Return the dialects, each once, in their order of preference.

    Raises: RouteMistake, Mistake.
    """
    names = [check_choice(name, "dialect", DIALECTS) for name in dict.fromkeys(dialects)]
    if not names:
        raise RouteMistake("a route speaks at least one dialect")
    return names


def check_variable(name: str) -> str:
    """Return the name of an environment variable that a route may read; empty for none.

    Raises: RouteMistake.
    """
    if name and not VARIABLE.fullmatch(name):
        raise RouteMistake(f"not the name of an environment variable: {name!r}")
    if name in OWN_VARIABLES:
        raise RouteMistake(f"{name} is a secret of this installation, not a provider's credential")
    return clean_line(name, "the credential variable", most=100) if name else ""


def _columns(changes: RouteChanges) -> dict[str, object]:
    columns: dict[str, object] = {}
    if "provider" in changes:
        columns["provider"] = clean_line(changes["provider"], "the provider", most=60)
    if "dialects" in changes:
        columns["dialects"] = check_dialects(changes["dialects"])
    if "base_url" in changes:
        columns["base_url"] = check_base_url(changes["base_url"])
    if "upstream_model" in changes:
        columns["upstream_model"] = clean_line(changes["upstream_model"], "the upstream model", most=150)
    if "weight" in changes:
        columns["weight"] = check_range(changes["weight"], "weight")
    if "priority" in changes:
        columns["priority"] = check_range(changes["priority"], "priority", least=0)
    if "is_enabled" in changes:
        columns["is_enabled"] = changes["is_enabled"]
    if "exposes_model" in changes:
        columns["exposes_model"] = changes["exposes_model"]
    if "keeps_state" in changes:
        columns["keeps_state"] = changes["keeps_state"]
    timeouts = {name: value for name, value in changes.items() if name in TIMEOUTS and isinstance(value, int)}
    columns |= {name: check_range(value, name.replace("_", " ")) for name, value in timeouts.items()}
    return {**columns, **_credential_columns(changes)}


def _credential_columns(changes: RouteChanges) -> dict[str, object]:
    """A route has one credential: stored, by variable, or in a file."""
    columns: dict[str, object] = {}
    if "credential" in changes:
        credential = check_credential(changes["credential"])
        columns["credential_sealed"] = seal(credential) if credential else ""
    if "credential_env" in changes:
        columns["credential_env"] = check_variable(changes["credential_env"])
    if "credential_file" in changes:
        columns["credential_file"] = check_file(changes["credential_file"])
    given = [name for name, value in columns.items() if value]
    if len(given) > 1:
        raise RouteMistake("a route has one credential: give it, or the name of its variable, or of its file")
    return {**dict.fromkeys(CREDENTIAL_COLUMNS, ""), **columns} if given else columns
