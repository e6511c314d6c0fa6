"""The tasks in the administration of a Django project, and the web pages in its URLs.

In the settings, and in `urls.py`::

    INSTALLED_APPS = [..., "cadasta.workertoolbox.results.django"]

    urlpatterns = [
        path("admin/", admin.site.urls),
        path("tasks/", include("cadasta.workertoolbox.results.django.urls")),
    ]

It needs `pip install "workertoolbox-results[django,web]"`.
"""
