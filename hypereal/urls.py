from django.contrib import admin
from django.urls import include, path

from apps.console.capacity.page import capacity_page
from hypereal import pages

urlpatterns = [
    path("", pages.home),
    path("healthz", pages.healthz),
    path("readyz", pages.readyz),
    path("metrics", pages.metrics),
    path("api/v1/", include("hypereal.api")),
    path("admin/capacity/", admin.site.admin_view(capacity_page), name="admin-capacity"),
    path("admin/", admin.site.urls),
]
