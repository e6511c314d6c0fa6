"""The URLs of the project."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from orders.views import place

urlpatterns = [
    path("orders/", place),
    path("admin/", admin.site.urls),
    path("tasks/", include("cadasta.workertoolbox.results.django.urls")),
]
