"""What webhooks brought that nobody is served by: for whoever runs this server."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Count, Max, Min

from marketplace.core.models import InboxEvent, WebhookDelivery


class Command(BaseCommand):
    help = "List parked webhook events by organisation, and genuine deliveries that could not be read. Changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        parked = (
            InboxEvent.objects.filter(state=InboxEvent.State.PARKED)
            .values("connector", "environment", "organisation_id")
            .annotate(count=Count("id"), first=Min("received_at"), last=Max("received_at"))
            .order_by("-count")
        )
        self.stdout.write("Parked: nobody has the organisation connected. They are followed once somebody has.")
        for row in parked:
            place = f"{row['connector']} {row['environment']} {row['organisation_id']}"
            self.stdout.write(f"  {row['count']:>7} {place}, {row['first']:%Y-%m-%d} to {row['last']:%Y-%m-%d}")
        unreadable = WebhookDelivery.objects.exclude(unreadable_reason="").order_by("-id")
        self.stdout.write(f"Unreadable deliveries, kept sealed: {unreadable.count()}. The latest:")
        for found in unreadable[:20]:
            place = f"{found.connector} {found.environment}"
            self.stdout.write(
                f"  {found.pk:>7} {place} {found.received_at:%Y-%m-%d %H:%M} {found.unreadable_reason[:120]}"
            )
