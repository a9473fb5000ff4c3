"""The admin's capacity page: an empty table that its script fills."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def capacity_page(request: HttpRequest) -> HttpResponse:
    return render(request, "admin/capacity.html", {**admin.site.each_context(request), "title": "Capacity"})
