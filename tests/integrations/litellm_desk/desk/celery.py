"""The Celery application of the desk."""

import os

from celery import Celery
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "desk.settings")

app = Celery("desk")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {
    "budgets-begin-anew": {"task": "desk.tasks.begin_budgets_anew", "schedule": crontab(hour=0, minute=5)},
    "spending-report": {"task": "desk.tasks.report_spending", "schedule": crontab(hour=6, minute=0)},
}
