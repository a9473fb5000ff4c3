"""The pages and probes that belong to no app: `/`, `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from hypereal import health

PLAIN: Final = "text/plain; charset=utf-8"
FORWARDING_HEADERS: Final = ("X-Forwarded-For", "X-Real-IP", "Forwarded")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A line of the table on the home page."""

    method: str
    path: str
    dialect: str


ENDPOINTS: Final = (
    Endpoint("POST", "/v1/managed/chat/completions", "OpenAI Chat Completions"),
    Endpoint("POST", "/v1/managed/responses", "OpenAI Responses"),
    Endpoint("POST", "/v1/managed/images/generations", "OpenAI Images"),
    Endpoint("POST", "/v1/managed/messages", "Anthropic Messages"),
    Endpoint("POST", "/v1/messages", "Anthropic Messages, for SDKs and Claude Code"),
    Endpoint("GET", "/v1/managed/models", "the catalog: models, prices, limits"),
)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What this is and where things are. Nothing on it comes from elsewhere, and its policy says so."""
    nonce = secrets.token_urlsafe(16)
    url = settings.ENVIRONMENT.public_url
    page = render(request, "home.html", {"endpoints": ENDPOINTS, "nonce": nonce, "url": url})
    page["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process is alive. Restart it when this does not answer."""
    return HttpResponse("ok\n", content_type=PLAIN)


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """The process can serve calls. Send it none while this is 503."""
    found = health.obstacles()
    if not found:
        return HttpResponse("ready\n", content_type=PLAIN)
    return HttpResponse("".join(f"{line}\n" for line in found), status=503, content_type=PLAIN)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Figures in Prometheus' format: docs/metrics.md says which are of the process that answers, and which of all."""
    if not _may_read_metrics(request):
        return HttpResponse("not for you\n", status=403, content_type=PLAIN)
    mode = "embedded" if settings.ENVIRONMENT.is_embedded else "production"
    return HttpResponse(health.exposition(mode=mode), content_type=health.METRICS_CONTENT_TYPE)


def _may_read_metrics(request: HttpRequest) -> bool:
    """With a token set: whoever has it. Without: this machine, and nobody through a proxy on it."""
    token = settings.ENVIRONMENT.metrics_token
    if token:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), token.encode())
    if any(name in request.headers for name in FORWARDING_HEADERS):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
