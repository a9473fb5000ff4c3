"""Routes as the hot path sees them, by model. A model that has none is the simulator's."""

from __future__ import annotations

import logging
import uuid

from django.db import DatabaseError

from apps.accounts import alerts, revisions
from apps.dialects.protocol import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_IMAGES, OPENAI_RESPONSES
from apps.upstreams.credential_files import Stamp, stamp_of
from apps.upstreams.credential_text import RouteMistake
from apps.upstreams.credentials import credential_of
from apps.upstreams.models import Route
from apps.upstreams.rules import SIMULATOR, RouteSnapshot

logger = logging.getLogger(__name__)

SIMULATOR_URLS = {
    OPENAI_CHAT: "simulator:/v1",
    OPENAI_RESPONSES: "simulator:/v1",
    OPENAI_IMAGES: "simulator:/v1",
    ANTHROPIC_MESSAGES: "simulator:",
    GEMINI: "simulator:/v1beta",
}


class RouteCache:
    topic = revisions.ROUTES

    def __init__(self) -> None:
        self.revision = -1
        self._files: dict[str, Stamp] = {}
        """Credential files as they were when they were read."""
        self._lacking: set[uuid.UUID] = set()
        """Routes whose credential is missing, as operators were told."""
        self._by_model: dict[str, list[RouteSnapshot]] = {}
        self._simulated: dict[tuple[str, tuple[str, ...]], list[RouteSnapshot]] = {}

    @property
    def is_due(self) -> bool:
        """Whether a credential file changed. A secret mount is replaced whole, so its stamp changes with it."""
        return any(stamp_of(name) != stamp for name, stamp in self._files.items())

    def of(self, model_id: str, *, dialects: tuple[str, ...]) -> list[RouteSnapshot]:
        """The model's enabled routes; where nobody configured any, enabled or not, the simulator, which then speaks
        the `dialects` that the catalog names."""
        routes = self._by_model.get(model_id)
        if routes is not None:
            return routes
        simulated = self._simulated.get((model_id, dialects))
        if simulated is None:
            simulated = self._simulated[model_id, dialects] = [_simulated(model_id, dialects)]
        return simulated

    def load(self, revision: int) -> None:
        by_model: dict[str, list[RouteSnapshot]] = {}
        files: dict[str, Stamp] = {}
        lacking: dict[uuid.UUID, str] = {}
        for route in Route.objects.order_by("priority", "created_at"):
            routes = by_model.setdefault(route.model_id, [])
            if not route.is_enabled:
                continue
            if route.credential_file:
                # Looked at before it is read: what is written in between is read once more.
                files[route.credential_file] = stamp_of(route.credential_file)
            try:
                snapshot = _snapshot(route)
            except RouteMistake as mistake:
                logger.error("route %s is left out: %s", route.id, mistake)
                lacking[route.id] = f"{route} is left out: {mistake}."
                continue
            routes.append(snapshot)
            if not snapshot.credential and (source := route.credential_file or route.credential_env):
                lacking[route.id] = f"{route} has no credential: {source} is not there. Its calls are sent without one."
        self._by_model, self._files, self.revision = by_model, files, revision
        self._tell(lacking)

    def _tell(self, lacking: dict[uuid.UUID, str]) -> None:
        """Tell operators of each route that came to lack its credential."""
        told = self._lacking & lacking.keys()
        for route_id in lacking.keys() - told:
            try:
                alerts.alert(kind="credential_missing", subject=f"route {route_id}", message=lacking[route_id])
            except DatabaseError:
                logger.exception("%s, and the alert could not be kept", lacking[route_id])
            else:
                told.add(route_id)
        self._lacking = told


def _snapshot(route: Route) -> RouteSnapshot:
    base_url = route.base_url.rstrip("/")
    return RouteSnapshot(
        route_id=route.id,
        key=str(route.id),
        provider=route.provider,
        dialects=tuple(route.dialects),
        base_urls=dict.fromkeys(route.dialects, base_url),
        upstream_model=route.upstream_model,
        credential=credential_of(
            sealed=route.credential_sealed, variable=route.credential_env, file=route.credential_file
        ),
        weight=route.weight,
        priority=route.priority,
        exposes_model=route.exposes_model,
        keeps_state=route.keeps_state,
        connect_timeout_s=route.connect_timeout_ms / 1000,
        first_byte_timeout_s=route.first_byte_timeout_ms / 1000,
        idle_timeout_s=route.idle_timeout_ms / 1000,
        total_timeout_s=route.total_timeout_ms / 1000,
    )


def _simulated(model_id: str, dialects: tuple[str, ...]) -> RouteSnapshot:
    return RouteSnapshot(
        route_id=None,
        key=f"{SIMULATOR}:{model_id}",
        provider=SIMULATOR,
        dialects=dialects,
        base_urls=SIMULATOR_URLS,
        upstream_model=model_id,
        credential="",
        weight=1,
        priority=0,
        exposes_model=False,
        keeps_state=False,
        connect_timeout_s=5,
        first_byte_timeout_s=300,
        idle_timeout_s=120,
        total_timeout_s=900,
    )
