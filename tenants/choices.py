"""Words that people choose from."""

from django.db import models


class Role(models.TextChoices):
    """From the least to the most; each may do what the ones before it may."""

    VIEWER = "viewer", "Viewer"
    BOOKKEEPER = "bookkeeper", "Bookkeeper"
    ADMIN = "admin", "Admin"
    OWNER = "owner", "Owner"

    def includes(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


# What each role may do, in words for the page where it is given.
ROLE_MEANINGS = {
    Role.VIEWER: "Sees everything, changes nothing.",
    Role.BOOKKEEPER: "Also maps fields, resolves issues and reviews postings.",
    Role.ADMIN: "Also connects systems, invites colleagues and approves going live.",
    Role.OWNER: "Also gives and takes ownership. A business always keeps one owner.",
}


class FirmRole(models.TextChoices):
    STAFF = "staff", "Staff"
    PARTNER = "partner", "Partner"
