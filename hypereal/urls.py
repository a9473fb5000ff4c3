from django.contrib import admin
from django.urls import path

from hypereal import pages

urlpatterns = [
    path("", pages.home),
    path("healthz", pages.healthz),
    path("readyz", pages.readyz),
    path("metrics", pages.metrics),
    path("admin/", admin.site.urls),
]
