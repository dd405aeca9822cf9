"""Users, and the families of refresh tokens."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone
from django.utils.crypto import constant_time_compare


class UserManager(BaseUserManager["User"]):
    """Makes users; e-mail addresses are kept in lower case, so that each belongs to one user."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").strip().lower())

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Raises `ValueError` without an e-mail address."""
        if not email:
            raise ValueError("a user needs an e-mail address")
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})


class User(AbstractUser):
    """Signs in by e-mail; has no username."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail", unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: list[str] = []

    objects = UserManager()  # type: ignore[misc, assignment]

    def __str__(self) -> str:
        return self.email


class TokenFamilyQuerySet(models.QuerySet["TokenFamily"]):
    """Families, and which of them still live."""

    def alive(self) -> TokenFamilyQuerySet:
        """Not revoked, not expired, and of an active user. Those whose user has the same password still are good."""
        return self.filter(revoked_at=None, expires_at__gt=timezone.now(), user__is_active=True)


class TokenFamily(models.Model):
    """One login. Each refresh replaces `current_id`; an older refresh token that shows up revokes the family."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="token_families")
    current_id = models.UUIDField(default=uuid.uuid4, editable=False)
    auth_hash = models.CharField(max_length=128, editable=False, help_text="Changes with the user's password.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TokenFamilyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "token families"

    def __str__(self) -> str:
        return f"{self.user} since {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def has_same_password(self) -> bool:
        """Whether its user's password is the one that it was made with."""
        return constant_time_compare(self.auth_hash, self.user.get_session_auth_hash())
