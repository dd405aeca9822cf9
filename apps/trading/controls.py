"""What stops a user's trading: limits and the kill switch. The engine looks for changes several times a second."""

from __future__ import annotations

from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction

from apps.trading import models
from engines.trading.risk.limits import RiskLimits


def own_account(user_id: str) -> models.Account:
    """The user's account; made, with the default cash, when there is none yet."""
    account, _ = models.Account.objects.get_or_create(user_id=user_id)
    return account


def limits_of(account: models.Account) -> RiskLimits:
    """The account's limits; the defaults where it has none of its own. Raises `ValueError` for what makes no sense."""
    row = getattr(account, "risk_limits", None) if account.pk else None
    row = row or models.RiskLimits()
    return row.as_limits()


def set_limits(user_id: str, values: dict[str, Any]) -> RiskLimits:
    """Set some of the user's limits. Raises `ValueError` that says which value is not allowed, and then changes
    nothing."""
    with transaction.atomic():
        account = own_account(user_id)
        row, _ = models.RiskLimits.objects.get_or_create(account=account)
        for name, value in values.items():
            setattr(row, name, value)
        limits = row.as_limits()
        try:
            row.full_clean()
        except ValidationError as error:
            raise ValueError(
                "; ".join(f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items())
            ) from None
        row.save()
        changed(account.pk)
    return limits


def set_kill_switch(user_id: str, *, engaged: bool, reason: str = "") -> models.Account:
    """Stop every order that opens, or let them again: also those that a drawdown stopped, which nothing else does."""
    with transaction.atomic():
        account = own_account(user_id)
        account.kill_switch, account.kill_switch_reason = engaged, reason[:200] if engaged else ""
        account.reset_requested = not engaged
        account.controls_changed = True
        account.save(update_fields=["kill_switch", "kill_switch_reason", "reset_requested", "controls_changed"])
    return account


def changed(account_id: int) -> None:
    """Let the engine look at the account's limits and switches again."""
    models.Account.objects.filter(pk=account_id).update(controls_changed=True)


def as_dict(limits: RiskLimits) -> dict[str, Any]:
    """For the REST API: only what can be set there."""
    return msgspec.structs.asdict(limits)
