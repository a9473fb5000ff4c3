"""`/api/v1/`: the doors that the apps have, their schema, and its page. Each app's are in its own `api.py`."""

from __future__ import annotations

import secrets
from typing import Any, Final

from django.conf import settings
from django.urls import path, re_path
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_auth import BearerToken, OperatorSession
from apps.governor.api import CapacityView

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Docs(SpectacularSwaggerSplitView):
    """The API's page. Its assets are on board, and its policy lets it fetch nothing from elsewhere."""

    template_name = "api/docs.html"
    url_name = "api-schema"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        if isinstance(page.data, dict):
            page.data["nonce"] = secrets.token_urlsafe(16)
            page["Content-Security-Policy"] = POLICY.format(nonce=page.data["nonce"])
        return page


class NothingHere(APIView):
    """Whatever has no view: a 404 in the API's own shape."""

    permission_classes = (AllowAny,)
    authentication_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(f"There is no {request.path} here. See /api/v1/docs/.")


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BearerToken
    name = "bearerToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "HYPEREAL_METRICS_TOKEN, for figures."}


class OperatorSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = OperatorSession
    name = "operatorSession"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "Sign in at /admin/.",
        }


urlpatterns = [
    # Typed by hand, so with and without a slash.
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="api-schema"),
    re_path(r"^docs/?$", Docs.as_view(), name="api-docs"),
    path("capacity", CapacityView.as_view(), name="api-capacity"),
    re_path(r"", NothingHere.as_view()),
]
