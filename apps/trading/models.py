"""What trading keeps: instruments, watchlists, accounts, positions, orders, executions, signals, alerts."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.conf import settings
from django.db import models


def price_field(**options: object) -> models.DecimalField:
    """A price or an amount of money, to four places."""
    return models.DecimalField(max_digits=18, decimal_places=4, **options)  # type: ignore[arg-type]


class Instrument(models.Model):
    """Something that can be quoted; commands that name another symbol are refused."""

    class Source(models.TextChoices):
        SIMULATED = "simulated"
        REPLAY = "replay"

    symbol = models.CharField(max_length=40, primary_key=True)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=16)
    source = models.CharField(max_length=16, choices=Source.choices, default=Source.SIMULATED)

    class Meta:
        ordering = ("symbol",)

    def __str__(self) -> str:
        return self.symbol


class WatchlistItem(models.Model):
    """A symbol whose signals a user gets from the start of a connection."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="watchlist")
    instrument = models.ForeignKey(Instrument, on_delete=models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("user", "instrument"), name="watchlist_once")]
        ordering = ("instrument_id",)

    def __str__(self) -> str:
        return f"{self.user} watches {self.instrument_id}"


class Account(models.Model):
    """A user's paper trading account."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="account")
    opening_cash = price_field(default=Decimal(1000000))
    cash = price_field(default=Decimal(1000000))
    auto_trade = models.BooleanField(default=False, help_text="Trade every signal of the watchlist's symbols.")
    day = models.DateField(null=True, blank=True, help_text="The market day that day_start_value belongs to.")
    day_start_value = price_field(default=Decimal(1000000))
    daily_loss_limit = models.FloatField(default=0.02, help_text="Share of the account that a day may lose.")
    concentration_limit = models.FloatField(default=0.25, help_text="Share of the account that one position may be.")

    def __str__(self) -> str:
        return f"account of {self.user}"


class Position(models.Model):
    """What a user holds of an instrument, average-price method; quantity < 0 is short."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="positions")
    symbol = models.CharField(max_length=40)
    quantity = models.IntegerField(default=0)
    average_price = price_field(default=Decimal(0))
    last_price = price_field(default=Decimal(0))
    realised_pnl = price_field(default=Decimal(0))

    class Meta:
        constraints = [models.UniqueConstraint(fields=("account", "symbol"), name="position_once")]
        ordering = ("symbol",)

    def __str__(self) -> str:
        return f"{self.quantity} {self.symbol}"


class Side(models.TextChoices):
    BUY = "BUY"
    SELL = "SELL"


class Order(models.Model):
    """An order and its state, in FIX words."""

    class Status(models.TextChoices):
        PENDING_NEW = "PENDING_NEW"
        NEW = "NEW"
        PARTIALLY_FILLED = "PARTIALLY_FILLED"
        FILLED = "FILLED"
        CANCELED = "CANCELED"
        REJECTED = "REJECTED"
        EXPIRED = "EXPIRED"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="orders")
    symbol = models.CharField(max_length=40)
    side = models.CharField(max_length=4, choices=Side.choices)
    quantity = models.PositiveIntegerField()
    filled_quantity = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING_NEW)
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_index=True)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} {self.symbol} {self.status}"


class Execution(models.Model):
    """A fill, or the failure of an order (`error`)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="executions")
    quantity = models.PositiveIntegerField()
    price = price_field(null=True, blank=True)
    error = models.CharField(max_length=200, blank=True)
    executed_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-executed_at",)

    def __str__(self) -> str:
        return f"{self.order} @ {self.price}"


class Signal(models.Model):
    """A recommendation: to one user, or (without a user) to everyone who follows the symbol."""

    class Type(models.TextChoices):
        BUY = "BUY"
        SELL = "SELL"
        HOLD = "HOLD"

    class Status(models.TextChoices):
        NEW = "NEW"
        ACTIVE = "ACTIVE"
        TARGET_HIT = "TARGET_HIT"
        STOP_HIT = "STOP_HIT"
        EXPIRED = "EXPIRED"
        CANCELLED = "CANCELLED"

    OPEN = (Status.NEW, Status.ACTIVE)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="signals"
    )
    symbol = models.CharField(max_length=40)
    signal_type = models.CharField(max_length=4, choices=Type.choices)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.NEW)
    confidence_score = models.FloatField()
    entry_price = price_field()
    target_price = price_field(null=True, blank=True)
    stop_loss = price_field(null=True, blank=True)
    strategy = models.CharField(max_length=60, blank=True)
    rationale = models.CharField(max_length=300, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    valid_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_index=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = [models.Index(fields=("symbol", "-created_at")), models.Index(fields=("user", "-created_at"))]

    def __str__(self) -> str:
        return f"{self.signal_type} {self.symbol} {self.status}"


class RiskAlert(models.Model):
    """A rule that a user's account broke."""

    class Severity(models.TextChoices):
        INFO = "INFO"
        WARNING = "WARNING"
        CRITICAL = "CRITICAL"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="risk_alerts")
    rule = models.CharField(max_length=40)
    symbol = models.CharField(max_length=40, blank=True)
    severity = models.CharField(max_length=8, choices=Severity.choices)
    message = models.CharField(max_length=300)
    value = models.FloatField()
    limit = models.FloatField()
    created_at = models.DateTimeField(db_index=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"


class Sentiment(models.Model):
    """The latest sentiment per scope (`MARKET` or a symbol)."""

    scope = models.CharField(max_length=40, primary_key=True)
    score = models.FloatField()
    components = models.JSONField(default=dict)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("scope",)

    def __str__(self) -> str:
        return f"{self.scope} {self.score:+.2f}"


class OptionChain(models.Model):
    """The latest chain per underlying and expiry, as it was sent."""

    underlying = models.CharField(max_length=40)
    expiry = models.DateField()
    data = models.JSONField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("underlying", "expiry"), name="chain_once")]
        ordering = ("underlying", "expiry")

    def __str__(self) -> str:
        return f"{self.underlying} {self.expiry}"


class OptionPosition(models.Model):
    """Contracts of an option that a user holds; quantity in units of the underlying."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="option_positions")
    underlying = models.CharField(max_length=40)
    expiry = models.DateField()
    option_type = models.CharField(max_length=2, choices=[("CE", "call"), ("PE", "put")])
    strike = price_field()
    quantity = models.IntegerField()

    class Meta:
        ordering = ("underlying", "expiry", "strike")

    def __str__(self) -> str:
        return f"{self.quantity} {self.underlying} {self.expiry} {self.strike:g} {self.option_type}"
