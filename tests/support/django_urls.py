"""The URLs of a Django project: its administration, and the web pages."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("ops/tasks/", include("cadasta.workertoolbox.results.django.urls")),
]
