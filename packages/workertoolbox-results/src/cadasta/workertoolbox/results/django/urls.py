"""The web pages, for `include` in the URLs of a Django project."""

from __future__ import annotations

from django.urls import re_path

from cadasta.workertoolbox.results.django.pages import show

app_name = "workertoolbox"

urlpatterns = [re_path(r"^(?P<path>.*)$", show, name="page")]
