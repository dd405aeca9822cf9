"""Deactivates a user, from a process that serves nobody."""

from __future__ import annotations

import sys

import django

django.setup()

from apps.accounts.models import User

if __name__ == "__main__":
    assert User.objects.filter(email=sys.argv[1]).update(is_active=False) == 1
