"""What webhooks brought that nobody is served by: for whoever runs this server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Count, Max, Min

from marketplace.core.models import InboxEvent, WebhookDelivery
from marketplace.installations.inbox import body_of
from marketplace.installations.vault import UnableToOpen
from marketplace.sync.rejudging import follow_parked, judge_again

LATEST = 20


class Command(BaseCommand):
    help = (
        "List parked webhook events by organisation, and genuine deliveries that could not be read. Changes nothing, unless asked to"
        " judge again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--show",
            type=int,
            metavar="DELIVERY",
            help="Print why one delivery could not be read, and all of it. That is a client's data: keep it to yourself.",
        )
        parser.add_argument(
            "--again",
            action="store_true",
            help="Read the unreadable again, after a new version that can, and follow what is parked for organisations connected by"
            " now. Can be stopped and run again.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["show"] is not None:
            self._show(options["show"])
        elif options["again"]:
            self._judge_again()
        else:
            self._list_parked()
            self._list_unreadable()

    def _list_parked(self) -> None:
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

    def _list_unreadable(self) -> None:
        unreadable = WebhookDelivery.objects.exclude(unreadable_reason="").defer("sealed_body").order_by("-id")
        self.stdout.write(f"Unreadable deliveries, kept sealed: {unreadable.count()}. The latest:")
        for found in unreadable[:LATEST]:
            place = f"{found.connector} {found.environment}"
            self.stdout.write(
                f"  {found.pk:>7} {place} {found.received_at:%Y-%m-%d %H:%M} {found.unreadable_reason[:120]}"
            )

    def _show(self, delivery_id: int) -> None:
        found = WebhookDelivery.objects.filter(pk=delivery_id).first()
        if found is None:
            raise CommandError(f"There is no delivery {delivery_id}.")
        place = f"{found.connector} {found.environment}"
        self.stdout.write(
            f"Delivery {found.pk}, {place}, {found.received_at:%Y-%m-%d %H:%M} from {found.source_address}"
        )
        self.stdout.write(found.unreadable_reason or f"It was read: {found.events.count()} events.")
        for name, value in sorted(found.headers.items()):
            self.stdout.write(f"{name}: {value}")
        try:
            self.stdout.write("\n" + body_of(found).decode(errors="backslashreplace"))
        except UnableToOpen as error:
            raise CommandError(str(error)) from error

    def _judge_again(self) -> None:
        read = left = 0
        for judged in judge_again():
            read, left = read + (not judged.problem), left + bool(judged.problem)
            outcome = judged.problem[:120] or f"{judged.events} events, {judged.routed} to connections"
            self.stdout.write(f"  {judged.delivery_id:>7} {outcome}")
        self.stdout.write(f"Read this time: {read}. Still unreadable: {left}.")
        self.stdout.write(f"Parked events followed now: {follow_parked()}.")
