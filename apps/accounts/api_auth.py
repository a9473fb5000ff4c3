"""Who may ask the control plane's API: every kind of credential is known here, and nowhere else."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    # Views import what their settings name, which is this module.
    from rest_framework.views import APIView

METRICS: Final = "metrics"
"""What `request.auth` is of a caller that has HYPEREAL_METRICS_TOKEN and nothing else."""


class BearerToken(BaseAuthentication):
    """`Authorization: Bearer …`. What kinds of token there are is decided here."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, str] | None:
        """None where there is no such header. Raises: AuthenticationFailed."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        metrics_token = settings.ENVIRONMENT.metrics_token
        if metrics_token and hmac.compare_digest(token.strip().encode(), metrics_token.encode()):
            return AnonymousUser(), METRICS
        raise AuthenticationFailed("This token is not known here.")

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class OperatorSession(SessionAuthentication):
    """Whoever is signed in at the admin; what changes something needs the CSRF token too."""


class IsOperator(BasePermission):
    """Staff, signed in."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user and request.user.is_active and request.user.is_staff)


class ReadsMetrics(BasePermission):
    """Staff, or whoever has the metrics token: for figures that name no customer."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return request.auth == METRICS or IsOperator().has_permission(request, view)
