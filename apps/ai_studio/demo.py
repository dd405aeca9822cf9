"""What the demo user has in AI Studio: a model of the live market that trains, deploys and backtests itself again and
again, offered and leased."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from apps.accounts.models import User
from apps.ai_studio import models
from engines.market.feeds.base import Feed

MODEL_NAME = "Next minutes"
LESSEE_EMAIL = "lessee@sharewise.local"
PREDICTED_SYMBOLS = 8
RERUN_SECONDS = 30
PRICE_PER_MONTH = Decimal("999.00")
# Quick to train again and again on what little a market that began a moment ago has shown.
TRAINING = {"folds": 2, "label": {"horizon_bars": 5}, "boosting": {"iterations": 60}}


def seed(user: User, feed: Feed) -> None:
    """Idempotent; the model follows the first instruments of the feed."""
    symbols = [instrument.symbol for instrument in feed.instruments[:PREDICTED_SYMBOLS]]
    follows = {"symbols": symbols, "bar_seconds": feed.bar_seconds}
    model, _ = models.Model.objects.update_or_create(
        owner=user,
        name=MODEL_NAME,
        defaults=follows,
        create_defaults={**follows, "training": TRAINING, "auto_deploy": True, "rerun_seconds": RERUN_SECONDS},
    )
    offer = {"title": "The next five bars, retrained live", "price_per_month": PRICE_PER_MONTH, "withdrawn_at": None}
    listing, _ = models.Listing.objects.update_or_create(model=model, defaults=offer)
    lessee = User.objects.filter(email=LESSEE_EMAIL).first()
    if lessee is None:
        lessee = User.objects.create_user(LESSEE_EMAIL)  # has no password, so nobody signs in with it
    now = timezone.now()
    if not listing.leases.filter(lessee=lessee, ends_at__gt=now).exists():
        listing.leases.create(lessee=lessee, starts_at=now, ends_at=now + timedelta(days=30), price=PRICE_PER_MONTH)
