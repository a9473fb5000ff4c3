"""What a refusal of the control plane's API looks like: one shape, whatever went wrong."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import serializers
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.exceptions import PermissionDenied as NotAllowed
from rest_framework.response import Response

logger = logging.getLogger(__name__)


class ErrorBody(serializers.Serializer[Any]):
    """What went wrong."""

    code = serializers.CharField(help_text="A word for programs, such as `not_authenticated`.")
    message = serializers.CharField(help_text="A sentence for people.")
    fields = serializers.DictField(  # type: ignore[assignment]  # the wire's name, which the class has another use for
        required=False, help_text="What is wrong with which field of the request, where that is the matter."
    )


class ApiError(serializers.Serializer[Any]):
    """Every refusal and failure under `/api/v1` has this shape."""

    error = ErrorBody()


def error_reply(error: Exception, context: dict[str, Any]) -> Response:
    """Every exception of a view as an ApiError. Whatever was not foreseen is logged, and told without details."""
    if isinstance(error, Http404):
        error = NotFound()
    elif isinstance(error, PermissionDenied):
        error = NotAllowed()
    if not isinstance(error, APIException):
        logger.error("%s failed", context["request"].path, exc_info=error)
        error = APIException("The server failed. This was logged.")
    # The view, or its throttle, leaves these on the exception.
    told = {"WWW-Authenticate": "auth_header", "Retry-After": "wait"}
    headers = {name: str(getattr(error, attribute)) for name, attribute in told.items() if hasattr(error, attribute)}
    body: dict[str, Any] = {"code": _code(error), "message": _message(error)}
    if isinstance(error, ValidationError) and isinstance(error.detail, dict):
        body["fields"] = error.detail
    return Response({"error": body}, status=error.status_code, headers=headers)


def _code(error: APIException) -> str:
    if isinstance(error, ValidationError):
        return "invalid_request"
    return "internal_error" if type(error) is APIException else str(error.get_codes())


def _message(error: APIException) -> str:
    if isinstance(error, ValidationError):
        return "Some fields are wrong." if isinstance(error.detail, dict) else " ".join(map(str, error.detail))
    return str(error.detail)
