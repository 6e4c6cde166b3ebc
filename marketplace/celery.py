"""Celery only wakes workers: PostgreSQL is the queue of record, so wiping the broker loses nothing."""

import os

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")

app = Celery("tieout", task_cls="tenants.tasks:TenantTask")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_connection_retry_on_startup=True,
    # One BRPOP key per queue; the default of four priority steps costs four times as much. A broker that stands still must not hold
    # whoever asks for work, and one that went away without a word is connected to anew.
    broker_transport_options={
        "priority_steps": [0],
        "visibility_timeout": 3600,
        "socket_connect_timeout": 1,
        "socket_timeout": 3,
        "health_check_interval": 10,
    },
    broker_connection_timeout=1,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    # A process keeps the catalogue of every tenant it touched: start afresh before that grows.
    worker_max_tasks_per_child=2000,
    timezone="UTC",
    beat_schedule={
        "tick": {"task": "core.tick", "schedule": 2.0, "options": {"expires": 10}},
        "anchor": {"task": "audit.anchor", "schedule": 900.0, "options": {"expires": 600}},
        "verify": {"task": "audit.verify", "schedule": crontab(hour=3, minute=17), "options": {"expires": 3600}},
    },
)
app.autodiscover_tasks()


@setup_logging.connect
def keep_django_logging(**kwargs: object) -> None:
    """Celery would otherwise replace our log format with its own."""
