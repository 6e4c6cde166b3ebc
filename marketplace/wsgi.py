"""The web process. WSGI only: async views and threads that touch the ORM would lose the tenant."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
pages = get_wsgi_application()

from marketplace.sync.webhook_views import DeliveriesFirst  # noqa: E402 -- it needs the applications that were loaded above

application = DeliveriesFirst(pages)
