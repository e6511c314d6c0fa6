"""The settings of the project; those of Celery are at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery.schedules import crontab

#: Where the shop keeps its database, its mails and the messages of the broker.
DATA = Path(os.environ.get("SHOP_DATA", Path(__file__).parents[1] / ".workertoolbox"))
DATA.mkdir(mode=0o700, parents=True, exist_ok=True)

DEBUG = True
SECRET_KEY = "a shop in production has one that nobody knows"
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
STATIC_URL = "static/"
DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "shop.sqlite3",
        # Not in memory: workers use it from other threads.
        "TEST": {"NAME": DATA / "test.sqlite3"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DATA / "mails"
SENDER = "orders@shop.example"
MANAGER = "manager@shop.example"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "cadasta.workertoolbox.results.django",
    "orders",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Tasks are stored in DATABASES["default"]. In production, the broker is a server, which
# CELERY_BROKER_URL names.
WORKERTOOLBOX_QUEUES = ["orders", "mail"]
WORKERTOOLBOX_FOLDER = DATA
CELERY_TASK_TIME_LIMIT = 60
CELERY_BEAT_SCHEDULE = {
    "nightly report": {"task": "mail.report", "schedule": crontab(hour=3, minute=0)}
}
