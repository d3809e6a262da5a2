"""Settings of the desk; what differs between machines comes from the environment."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("DESK_SECRET", "only for development")
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "desk.urls"
WSGI_APPLICATION = "desk.wsgi.application"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "desk"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DESK_DATABASE", str(BASE_DIR / "desk.sqlite3")),
        "OPTIONS": {"timeout": 20},
    }
}

CELERY_BROKER_URL = os.environ.get("DESK_BROKER", "redis://127.0.0.1:6379/0")
CELERY_RESULT_BACKEND = os.environ.get("DESK_RESULTS", "redis://127.0.0.1:6379/0")
CELERY_TASK_TIME_LIMIT = 300
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_ALWAYS_EAGER = os.environ.get("DESK_EAGER") == "1"

LLM_TIMEOUT = 30
LLM_RETRIES = 2
LLM_COOLDOWN = 60
LLM_CUSTOMER_BUDGET = float(os.environ.get("DESK_CUSTOMER_BUDGET", "0.50"))
LLM_PROCESS_BUDGET = float(os.environ.get("DESK_PROCESS_BUDGET", "25"))

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"desk": {"handlers": ["console"], "level": "WARNING"}},
}
