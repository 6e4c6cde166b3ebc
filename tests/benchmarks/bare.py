"""The one view of the bare web server."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

CREATE = "CREATE TABLE IF NOT EXISTS public.bare_inbox (id bigserial PRIMARY KEY, body bytea NOT NULL)"


def receive(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO public.bare_inbox (body) VALUES (%s)", [request.body])
    return HttpResponse(status=200)


urlpatterns = [path("webhooks/bare/", receive)]
