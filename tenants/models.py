"""Shared tables: people, businesses (tenants), who belongs where, and the template every tenant's schema is made from."""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django_tenants.models import TenantMixin

from tenants.choices import FirmRole, Role


def new_schema_name() -> str:
    """Random, never made from what somebody typed."""
    return "t_" + base64.b32encode(secrets.token_bytes(10)).decode().lower()


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. The e-mail address is the name they log in with."""

    email = models.EmailField("e-mail address", unique=True)
    full_name = models.CharField("your name", max_length=150)
    is_active = models.BooleanField(default=True)
    joined_at = models.DateTimeField(default=timezone.now, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["full_name"]
    objects = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_any_case_unique")]

    def __str__(self) -> str:
        return self.full_name or self.email


class Firm(models.Model):
    """An accounting firm: a group of tenants with its own staff."""

    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    staff: models.ManyToManyField[User, FirmStaff] = models.ManyToManyField(
        User, through="FirmStaff", related_name="firms"
    )

    def __str__(self) -> str:
        return self.name


class FirmStaff(models.Model):
    firm = models.ForeignKey(Firm, on_delete=models.CASCADE)
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    role = models.CharField(max_length=20, choices=FirmRole.choices, default=FirmRole.STAFF)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["firm", "user"], name="firm_staff_once")]

    def __str__(self) -> str:
        return f"{self.user} at {self.firm}"


class FirmEntry(models.Model):
    """The trail of a firm: who of it may open which client, and who did. Append-only; the database refuses UPDATE and DELETE.
    `digest` covers the entry and the digest before it."""

    firm = models.ForeignKey(Firm, on_delete=models.PROTECT, related_name="entries")
    sequence = models.BigIntegerField()
    at = models.DateTimeField()
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=40)
    # Of the client, as it was called then; empty where none is concerned.
    tenant_id = models.UUIDField(null=True)
    client = models.CharField(max_length=200, blank=True)
    summary = models.TextField()
    previous_digest = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["-sequence"]
        constraints = [models.UniqueConstraint(fields=["firm", "sequence"], name="firm_entry_once")]

    def __str__(self) -> str:
        return self.summary


class Tenant(TenantMixin):
    """A business, with its own schema."""

    auto_create_schema = False

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    schema_name = models.CharField(max_length=63, unique=True, default=new_schema_name, editable=False)
    slug = models.SlugField(max_length=60, unique=True)
    legal_name = models.CharField(max_length=200)
    country = models.CharField(max_length=2)
    base_currency = models.CharField(max_length=3)
    time_zone = models.CharField(max_length=64)
    firm = models.ForeignKey(Firm, null=True, blank=True, on_delete=models.PROTECT, related_name="tenants")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Which state of the template this schema has: "who is behind" is one query.
    template_digest = models.CharField(max_length=64, db_index=True, editable=False)

    class Meta:
        ordering = ["legal_name"]
        constraints = [
            models.CheckConstraint(condition=Q(schema_name__regex=r"^t_[a-z0-9_]+$"), name="tenant_schema_generated")
        ]

    def __str__(self) -> str:
        return self.legal_name


class MembershipQuerySet(models.QuerySet["Membership"]):
    def live(self) -> MembershipQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), user__is_active=True)


class Membership(models.Model):
    """The only way into a tenant; read on every request."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "tenant"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user}, {self.get_role_display()} of {self.tenant}"

    def may(self, role: Role) -> bool:
        return Role(self.role).includes(role)


class Invitation(models.Model):
    """A letter that makes its receiver a member. Only the token's hash is kept."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=20, choices=Role.choices)
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "email"], condition=Q(accepted_at=None), name="invitation_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.tenant}"


class SchemaTemplate(models.Model):
    """The statements that make a tenant's schema, for one state of the migrations."""

    digest = models.CharField(max_length=64, primary_key=True)
    ddl = models.TextField()
    built_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.digest[:12]


class SchemaStep(models.Model):
    """What took the template from one state to the next; replayed on every tenant that is at `from_digest`."""

    from_digest = models.CharField(max_length=64, unique=True)
    to_digest = models.CharField(max_length=64)
    sql = models.TextField()
    # A Python data migration must run in each schema; its statements cannot be replayed.
    runs_python = models.BooleanField()

    def __str__(self) -> str:
        return f"{self.from_digest[:12]} to {self.to_digest[:12]}"
