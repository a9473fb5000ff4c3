"""`GET /api/v1/capacity`: what the admin's capacity page shows, for programs."""

from __future__ import annotations

from concurrent.futures import TimeoutError as LateAnswer
from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_auth import ReadsMetrics
from apps.accounts.api_errors import ApiError
from apps.governor.telemetry import here


class NoFigures(APIException):
    status_code = 503
    default_code = "figures_unavailable"
    default_detail = "This process counts no calls now. Try again."


class PercentilesSerializer(serializers.Serializer[Any]):
    """Each within 1/32 of the truth; null where nothing was measured."""

    p50 = serializers.IntegerField(allow_null=True)
    p95 = serializers.IntegerField(allow_null=True)
    p99 = serializers.IntegerField(allow_null=True)


def by_code(help_text: str) -> serializers.DictField:
    return serializers.DictField(child=serializers.IntegerField(), help_text=f"{help_text}, by error code.")


class PeriodSerializer(serializers.Serializer[Any]):
    """Calls that ended within the last minute, or the last five."""

    calls = serializers.IntegerField(help_text="Served, abandoned by their caller, or failed.")
    succeeded = serializers.IntegerField()
    abandoned = serializers.IntegerField(help_text="The caller left before its end.")
    failed = serializers.IntegerField(help_text="For no fault of the caller's.")
    error_percent = serializers.FloatField(help_text="`failed`, of `calls`.")
    errors = by_code("Failed calls")  # type: ignore[assignment]  # the wire's name; the class has another use for it
    shed = by_code("Calls turned away for want of capacity: they have not failed")
    refused = by_code("Calls turned away for the caller's own reasons")
    attempts_failed = by_code("Attempts at a route before the caller heard a word; the next may have served it")
    wait_ms = PercentilesSerializer(help_text="Wait for a slot of admitted calls: 0 for most.")
    first_byte_ms = PercentilesSerializer(
        help_text="From the request's last byte to the reply's first; of a plain reply, to all of it."
    )
    output_tokens_per_s = PercentilesSerializer(help_text="While the answer was made.")


class UseSerializer(serializers.Serializer[Any]):
    used = serializers.IntegerField()
    limit = serializers.IntegerField(allow_null=True, help_text="null: none.")


class RouteLoadSerializer(serializers.Serializer[Any]):
    route = serializers.CharField(help_text="Its id, or `simulator:MODEL`.")
    provider = serializers.CharField()
    upstream_model = serializers.CharField()
    circuit = serializers.ChoiceField(choices=["closed", "open", "half_open"])
    in_flight = serializers.IntegerField(help_text="Calls on their way.")
    minute = PeriodSerializer()
    five_minutes = PeriodSerializer()


class ModelLoadSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    name = serializers.CharField()
    in_flight = UseSerializer(help_text="Slots.")
    queued = UseSerializer(help_text="Calls that wait for a slot.")
    queued_tokens = UseSerializer(help_text="Their estimated tokens.")
    requests_in_minute = UseSerializer(help_text="Requests admitted within the last minute.")
    tokens_in_minute = UseSerializer(help_text="Tokens used or reserved within the last minute.")
    images_in_minute = UseSerializer(help_text="Images asked for within the last minute.")
    circuit = serializers.ChoiceField(
        choices=["closed", "open", "half_open"], help_text="`closed` where no route's is otherwise, else the worst."
    )
    minute = PeriodSerializer()
    five_minutes = PeriodSerializer()
    routes = RouteLoadSerializer(many=True)


@extend_schema_serializer(component_name="Capacity")
class OverviewSerializer(serializers.Serializer[Any]):
    """Load, waiting, speed and failures of every enabled model and its routes, over all web processes."""

    taken_at = serializers.DateTimeField()
    governor = serializers.ChoiceField(
        choices=["active", "degraded"], help_text="`degraded`: a process keeps limits by itself, for Redis is away."
    )
    is_complete = serializers.BooleanField(
        help_text="false: figures of the one process that answers, for Redis is away."
    )
    processes = serializers.IntegerField(help_text="Web processes in these figures.")
    in_flight = serializers.IntegerField()
    queued = serializers.IntegerField()
    minute = PeriodSerializer(help_text="All calls, those that named no model of the catalog too.")
    five_minutes = PeriodSerializer()
    models = ModelLoadSerializer(many=True)


@method_decorator(never_cache, name="dispatch")
class CapacityView(APIView):
    permission_classes = (ReadsMetrics,)

    @extend_schema(
        operation_id="capacity",
        summary="Capacity now",
        responses={200: OverviewSerializer, 401: ApiError, 403: ApiError, 503: ApiError},
        tags=["capacity"],
    )
    def get(self, request: Request) -> Response:
        """Load, waiting, shed calls, speed and failures per model and route, as the admin's capacity page shows them.
        For a time series scrape `/metrics`."""
        try:
            overview = here.ask(here.observer().look())
        except (here.NotServing, LateAnswer) as error:
            raise NoFigures from error
        return Response(OverviewSerializer(overview).data)
