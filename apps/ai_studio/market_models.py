"""What the marketplace keeps: listings, leases, payments, reviews. Import them from `apps.ai_studio.models`."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

MAX_PROFIT_SHARE_PERCENT = 50
MAX_PRICE_PER_MONTH = Decimal(10_000_000)
MIN_CAPITAL, MAX_CAPITAL = Decimal(10_000), Decimal(1_000_000_000)
MAX_MONTHS = 12


class Listing(models.Model):
    """A model that is offered for lease: for a price per month, or for a share of the profit; one of the two is set.
    A withdrawn one takes no new leases; those that run go on."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.OneToOneField("Model", on_delete=models.CASCADE, related_name="listing")
    title = models.CharField(max_length=120)
    description = models.CharField(max_length=1_000, blank=True)
    price_per_month = models.DecimalField(
        max_digits=12,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(MAX_PRICE_PER_MONTH)],
    )
    profit_share_percent = models.DecimalField(
        max_digits=4,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal("0.01")), MaxValueValidator(Decimal(MAX_PROFIT_SHARE_PERCENT))],
    )
    published_at = models.DateTimeField(auto_now_add=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    announced_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="To everyone, the last time.")

    class Meta:
        ordering = ("-published_at",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(price_per_month__isnull=True) ^ models.Q(profit_share_percent__isnull=True),
                name="listing_price_or_share",
            )
        ]

    def __str__(self) -> str:
        return self.title


class Lease(models.Model):
    """A user's right to a model's predictions, from `starts_at` until `ends_at`, on the terms that were offered then.

    `price`: of the whole lease. `profit_share_percent` and `capital`: the owner's share of what following each
    prediction with `capital` rupees would have earned. Either the price is set or the two. `shares`: the share by month
    ("2026-01": rupees), of months that brought one and can change no more: they are before `settled_until`.

    Leases and payments are the owner's books: they outlive the lessee's account, and a model with leases stays."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    listing = models.ForeignKey(Listing, on_delete=models.PROTECT, related_name="leases")
    lessee = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="leases"
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(db_index=True)
    price = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    profit_share_percent = models.DecimalField(max_digits=4, decimal_places=2, null=True, blank=True)
    capital = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    shares = models.JSONField(default=dict, blank=True, editable=False)
    settled_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-starts_at",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")), name="lease_ends_after_start"
            ),
            models.CheckConstraint(
                # What compares with NULL is unknown, and passes: so each is said to be there.
                condition=models.Q(
                    price__isnull=False, price__gte=0, profit_share_percent__isnull=True, capital__isnull=True
                )
                | models.Q(
                    price__isnull=True,
                    profit_share_percent__isnull=False,
                    profit_share_percent__gt=0,
                    capital__isnull=False,
                    capital__gt=0,
                ),
                name="lease_price_or_share",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.lessee or 'who left'} leases {self.listing}"


class Payment(models.Model):
    """Money that changed hands elsewhere, recorded: for one month of a lease, or for a part of it. `period` is the
    month's first day."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    lease = models.ForeignKey(Lease, on_delete=models.PROTECT, related_name="payments")
    period = models.DateField()
    amount = models.DecimalField(max_digits=14, decimal_places=2, validators=[MinValueValidator(Decimal("0.01"))])
    reference = models.CharField(max_length=80, help_text="The payer's own, such as a UTR number.")
    paid_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-paid_at",)
        constraints = [
            models.CheckConstraint(condition=models.Q(period__day=1), name="payment_for_a_month"),
            models.UniqueConstraint(fields=("lease", "reference"), name="payment_reference_once_per_lease"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} for {self.period:%Y-%m} of {self.lease}"


class Review(models.Model):
    """What a lessee thinks of a model. `text` is sanitised: a little HTML and nothing that runs."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    listing = models.ForeignKey(Listing, on_delete=models.CASCADE, related_name="reviews")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="reviews")
    rating = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(5)])
    text = models.TextField(max_length=4_000, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = [models.UniqueConstraint(fields=("listing", "author"), name="review_once")]

    def __str__(self) -> str:
        return f"{self.rating} for {self.listing}"
