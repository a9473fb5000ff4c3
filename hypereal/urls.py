from django.contrib import admin
from django.urls import include, path

from hypereal import pages

urlpatterns = [
    path("", pages.home),
    path("healthz", pages.healthz),
    path("readyz", pages.readyz),
    path("metrics", pages.metrics),
    path("api/v1/", include("hypereal.api")),
    path("admin/", admin.site.urls),
]
