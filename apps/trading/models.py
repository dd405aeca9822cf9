"""What trading keeps: instruments and prices, watchlists, accounts with their books, orders, signals, alerts."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from engines.trading.risk.limits import RiskLimits as EngineLimits


def price_field(**options: object) -> models.DecimalField:
    """A price or an amount of money, to four places."""
    return models.DecimalField(max_digits=18, decimal_places=4, **options)  # type: ignore[arg-type]


def limit_field(default: float | None, help_text: str) -> models.FloatField:
    """A limit of a risk rule; null switches the rule off."""
    return models.FloatField(null=True, blank=True, default=default, help_text=help_text)


class Instrument(models.Model):
    """Something that can be quoted; commands that name another symbol are refused."""

    class Source(models.TextChoices):
        SIMULATED = "simulated"
        REPLAY = "replay"
        LIVE = "live"

    symbol = models.CharField(max_length=40, primary_key=True)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=16, db_index=True)
    source = models.CharField(max_length=16, choices=Source.choices, default=Source.SIMULATED)
    exchange = models.CharField(max_length=8, default="NSE")
    lot_size = models.PositiveIntegerField(default=1)
    tick_size = price_field(default=Decimal("0.05"))
    multiplier = models.PositiveIntegerField(default=1)
    underlying = models.CharField(max_length=40, blank=True)
    expiry = models.DateField(null=True, blank=True)
    strike = price_field(null=True, blank=True)
    option_type = models.CharField(max_length=2, blank=True)

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


class LastPrice(models.Model):
    """The price at which positions were marked last: one row per symbol, whoever holds it."""

    symbol = models.CharField(max_length=40, primary_key=True)
    price = price_field()
    market_time = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.symbol} {self.price}"


class DailyClose(models.Model):
    """What a symbol closed at: the history that value at risk is computed from."""

    symbol = models.CharField(max_length=40)
    day = models.DateField(db_index=True)
    close = price_field()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("symbol", "day"), name="daily_close_once")]
        ordering = ("symbol", "day")

    def __str__(self) -> str:
        return f"{self.symbol} {self.day} {self.close}"


class Account(models.Model):
    """A user's paper trading account: its cash, the record of its trades, and what blocks it."""

    class BrokeragePlan(models.TextChoices):
        ZERO = "ZERO", "no brokerage"
        DISCOUNT = "DISCOUNT", "delivery free, else at most 20 rupees an order"

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="account")
    opening_cash = price_field(default=Decimal(1000000))
    cash = price_field(default=Decimal(1000000))
    brokerage_plan = models.CharField(max_length=12, choices=BrokeragePlan.choices, default=BrokeragePlan.DISCOUNT)
    auto_trade = models.BooleanField(default=False, help_text="Trade every signal of the watchlist's symbols.")
    day = models.DateField(null=True, blank=True, help_text="The market day that day_start_value belongs to.")
    day_start_value = price_field(default=Decimal(1000000))
    peak_value = price_field(default=Decimal(1000000))
    max_drawdown = models.FloatField(default=0.0, help_text="The deepest fall below the peak so far, as a share of it.")
    trade_count = models.PositiveIntegerField(default=0)
    win_count = models.PositiveIntegerField(default=0)
    loss_count = models.PositiveIntegerField(default=0)
    gross_profit = price_field(default=Decimal(0))
    gross_loss = price_field(default=Decimal(0))
    margin_blocked = price_field(default=Decimal(0))
    sharpe = models.FloatField(null=True, blank=True)
    risk_state = models.JSONField(default=dict, blank=True, help_text="What the risk rules have told, and block.")
    kill_switch = models.BooleanField(default=False, help_text="Refuses every order that opens, until it is reset.")
    kill_switch_reason = models.CharField(max_length=200, blank=True)
    reset_requested = models.BooleanField(default=False, help_text="Lift what only a hand may lift.")
    controls_changed = models.BooleanField(
        default=False, db_index=True, help_text="Limits or the kill switch were set: the engine has to look."
    )

    def __str__(self) -> str:
        return f"account of {self.user}"


class RiskLimits(models.Model):
    """An account's limits. Shares are of the account's value; a limit that is null is off."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, related_name="risk_limits")
    daily_loss = limit_field(0.02, "Share of the account that a day may lose.")
    drawdown = limit_field(0.10, "Share below its peak that the account may fall.")
    concentration = limit_field(0.25, "Share of the account that one position may be.")
    gross_exposure = limit_field(2.0, "All positions together, as a multiple of the account.")
    margin_used = limit_field(0.80, "Share of the account that margins may block.")
    orders_per_minute = models.PositiveIntegerField(null=True, blank=True, default=60)
    var_95 = limit_field(None, "One day's value at risk at 95 %, as a share of the account.")
    var_99 = limit_field(None, "One day's value at risk at 99 %, as a share of the account.")
    cvar_95 = limit_field(None, "What a day beyond the 95 % loses on average, as a share of the account.")
    cvar_99 = limit_field(None, "What a day beyond the 99 % loses on average, as a share of the account.")
    mtm_target = price_field(null=True, blank=True, help_text="The day's profit in rupees at which to stop.")
    mtm_stop = price_field(null=True, blank=True, help_text="The day's loss in rupees at which to stop.")

    class Meta:
        verbose_name_plural = "risk limits"

    def __str__(self) -> str:
        return f"limits of {self.account}"

    def clean(self) -> None:
        try:
            self.as_limits()
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def as_limits(self) -> EngineLimits:
        """What the engine keeps to. Raises `ValueError` for what makes no sense."""
        return EngineLimits(**{name: getattr(self, name) for name in EngineLimits.__struct_fields__})


class DailyValue(models.Model):
    """What an account was worth at the end of a market day."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="daily_values")
    day = models.DateField()
    value = price_field()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("account", "day"), name="daily_value_once")]
        ordering = ("day",)

    def __str__(self) -> str:
        return f"{self.day} {self.value}"


class Position(models.Model):
    """What a user holds of an instrument, average-price method; quantity < 0 is short. `cost` is what the open quantity
    cost, exactly; `day_cost` is the overnight quantity at the previous close plus what was traded today."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="positions")
    symbol = models.CharField(max_length=40)
    quantity = models.IntegerField(default=0)
    cost = price_field(default=Decimal(0))
    last_price = price_field(default=Decimal(0))
    realised_pnl = price_field(default=Decimal(0))
    charges = price_field(default=Decimal(0))
    day_cost = price_field(default=Decimal(0))
    day_charges = price_field(default=Decimal(0))
    margined = models.BooleanField(default=False, help_text="A future: it moves cash when it is closed, not before.")
    multiplier = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("account", "symbol"), name="position_once")]
        ordering = ("symbol",)

    def __str__(self) -> str:
        return f"{self.quantity} {self.symbol}"


class EngineTerm(models.Model):
    """Which process may write books: the newest term. An older one that wakes up finds its term over. `market` is the
    feed that prices and open signals are of, `day` the market day that the books are in."""

    term = models.PositiveBigIntegerField(default=0)
    market = models.CharField(max_length=200, blank=True)
    day = models.DateField(null=True, blank=True)

    def __str__(self) -> str:
        return f"term {self.term}"


class Side(models.TextChoices):
    BUY = "BUY"
    SELL = "SELL"


class Order(models.Model):
    """An order and its state, in FIX words. New ones wait here as PENDING_NEW until the engine takes them."""

    class Type(models.TextChoices):
        MARKET = "MARKET"
        LIMIT = "LIMIT"
        STOP = "STOP"
        STOP_LIMIT = "STOP_LIMIT"

    class TimeInForce(models.TextChoices):
        DAY = "DAY"
        IOC = "IOC"

    class Product(models.TextChoices):
        DELIVERY = "DELIVERY"
        INTRADAY = "INTRADAY"
        NORMAL = "NORMAL", "futures and options"

    class Status(models.TextChoices):
        PENDING_NEW = "PENDING_NEW"
        NEW = "NEW"
        PARTIALLY_FILLED = "PARTIALLY_FILLED"
        FILLED = "FILLED"
        CANCELED = "CANCELED"
        REJECTED = "REJECTED"
        EXPIRED = "EXPIRED"

    OPEN = (Status.PENDING_NEW, Status.NEW, Status.PARTIALLY_FILLED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="orders")
    client_order_id = models.CharField(max_length=64, blank=True)
    symbol = models.CharField(max_length=40)
    side = models.CharField(max_length=4, choices=Side.choices)
    quantity = models.PositiveIntegerField()
    order_type = models.CharField(max_length=12, choices=Type.choices, default=Type.MARKET)
    limit_price = price_field(null=True, blank=True)
    stop_price = price_field(null=True, blank=True)
    time_in_force = models.CharField(max_length=4, choices=TimeInForce.choices, default=TimeInForce.DAY)
    product = models.CharField(max_length=12, choices=Product.choices, default=Product.DELIVERY)
    filled_quantity = models.PositiveIntegerField(default=0)
    filled_value = price_field(default=Decimal(0))
    brokerage = price_field(default=Decimal(0), help_text="What its fills were charged so far: the plan caps it.")
    blocked = price_field(null=True, blank=True, help_text="What it holds back of the cash while it is open.")
    triggered = models.BooleanField(default=False)
    cancel_requested = models.BooleanField(default=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING_NEW)
    reason_code = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_index=True)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("-created_at",)
        constraints = [
            models.UniqueConstraint(
                fields=("account", "client_order_id"), condition=~models.Q(client_order_id=""), name="client_order_once"
            )
        ]
        indexes = [models.Index(fields=("status", "created_at"), name="order_by_status")]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} {self.symbol} {self.status}"


class Execution(models.Model):
    """A fill, or the failure of an order (`error`)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="executions")
    quantity = models.PositiveIntegerField()
    price = price_field(null=True, blank=True)
    charges = models.JSONField(default=dict, blank=True, help_text="By kind, in rupees; `total` is all of them.")
    realised_pnl = price_field(null=True, blank=True, help_text="Of what the fill closed; null: it closed nothing.")
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
    value = models.FloatField(null=True, blank=True, help_text="Null: it is not known.")
    limit = models.FloatField(null=True, blank=True)
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
    weights = models.JSONField(default=dict)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ("scope",)

    def __str__(self) -> str:
        return f"{self.scope} {self.score:+.2f}"


class Headline(models.Model):
    """A piece of news; the same title is kept once."""

    id = models.CharField(primary_key=True, max_length=64, help_text="A hash of the title.")
    title = models.CharField(max_length=300)
    source = models.CharField(max_length=80, blank=True)
    url = models.CharField(max_length=500, blank=True)
    symbols = models.JSONField(default=list, blank=True)
    published_at = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-published_at",)

    def __str__(self) -> str:
        return self.title


class OptionChain(models.Model):
    """The latest chain per underlying and expiry: what was sent of it, and what positions are valued with."""

    underlying = models.CharField(max_length=40)
    expiry = models.DateField()
    data = models.JSONField()
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("underlying", "expiry"), name="chain_once")]
        ordering = ("underlying", "expiry")

    def __str__(self) -> str:
        return f"{self.underlying} {self.expiry}"


class DailyVolatility(models.Model):
    """An underlying's at-the-money volatility at the end of a market day: what its rank is measured against."""

    underlying = models.CharField(max_length=40)
    day = models.DateField()
    atm_iv = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("underlying", "day"), name="daily_volatility_once")]
        ordering = ("underlying", "day")
        verbose_name_plural = "daily volatilities"

    def __str__(self) -> str:
        return f"{self.underlying} {self.day} {self.atm_iv:.4f}"
