"""The messages and commands of the trading streams. Prices and money are JSON numbers, in rupees where not said."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from realtime.messages import Command, DataMessage, Reply

Amount = Annotated[float, Meta(ge=-1e15, le=1e15)]
Price = Annotated[float, Meta(ge=0, le=1e12)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Percentage = Annotated[float, Meta(ge=0, le=100)]
Symbol = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^[A-Z0-9][A-Z0-9&_.\-]*$")]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Text = Annotated[str, Meta(max_length=300)]

SignalType = Literal["BUY", "SELL", "HOLD"]
SignalStatus = Literal["NEW", "ACTIVE", "TARGET_HIT", "STOP_HIT", "EXPIRED", "CANCELLED"]
Side = Literal["BUY", "SELL"]
OrderStatus = Literal["PENDING_NEW", "NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]
Severity = Literal["INFO", "WARNING", "CRITICAL"]
OptionType = Literal["CE", "PE"]
OrderType = Literal["MARKET", "LIMIT", "STOP", "STOP_LIMIT"]
TimeInForce = Literal["DAY", "IOC"]
Product = Literal["DELIVERY", "INTRADAY", "NORMAL"]


class Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what messages carry."""


class Signal(Payload, frozen=True, kw_only=True):
    """A recommendation. `confidence_score` is between 0 and 1."""

    id: Id
    symbol: Symbol
    signal_type: SignalType
    confidence_score: Probability
    entry_price: Price
    target_price: Price | UnsetType = UNSET
    stop_loss: Price | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    status: SignalStatus | UnsetType = UNSET
    strategy: Text | UnsetType = UNSET
    rationale: Text | UnsetType = UNSET
    valid_until: datetime | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class PortfolioTotals(Payload, frozen=True, kw_only=True):
    """A portfolio's totals; `total_value` is cash plus positions at the last price. `margin_blocked`: of the cash, what
    short positions, futures and open orders hold back."""

    total_value: Amount
    total_pnl: Amount
    daily_pnl: Amount
    position_count: Annotated[int, Meta(ge=0)]
    cash: Amount | UnsetType = UNSET
    margin_blocked: Amount | UnsetType = UNSET


class Position(Payload, frozen=True, kw_only=True):
    """One holding. `quantity` 0: it was closed, and can be dropped."""

    symbol: Symbol
    quantity: int
    average_price: Price
    last_price: Price
    market_value: Amount
    unrealised_pnl: Amount
    realised_pnl: Amount
    daily_pnl: Amount | UnsetType = UNSET
    charges: Amount | UnsetType = UNSET


class Portfolio(Payload, frozen=True, kw_only=True):
    """Totals and every open position."""

    total_value: Amount
    total_pnl: Amount
    daily_pnl: Amount
    position_count: Annotated[int, Meta(ge=0)]
    cash: Amount
    margin_blocked: Amount | UnsetType = UNSET
    positions: Sequence[Position]


class Execution(Payload, frozen=True, kw_only=True):
    """A fill; in `trade_failed` what was to be filled. `charges`: all of the fill's, by kind in `metadata`.
    `realised_pnl`: of what the fill closed, before charges; not there when it closed nothing."""

    id: Id
    symbol: Symbol
    side: Side
    quantity: Annotated[int, Meta(gt=0)]
    price: Price | UnsetType = UNSET
    order_id: Id | UnsetType = UNSET
    executed_at: datetime | UnsetType = UNSET
    charges: Amount | UnsetType = UNSET
    realised_pnl: Amount | UnsetType = UNSET
    error: Text | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class Order(Payload, frozen=True, kw_only=True):
    """An order: quantity = filled_quantity + leaves_quantity, always. Of an order that has ended, `leaves_quantity` is
    what was never filled, and will not be."""

    id: Id
    symbol: Symbol
    side: Side
    quantity: Annotated[int, Meta(gt=0)]
    filled_quantity: Annotated[int, Meta(ge=0)]
    leaves_quantity: Annotated[int, Meta(ge=0)]
    status: OrderStatus
    order_type: OrderType | UnsetType = UNSET
    limit_price: Price | UnsetType = UNSET
    stop_price: Price | UnsetType = UNSET
    time_in_force: TimeInForce | UnsetType = UNSET
    product: Product | UnsetType = UNSET
    average_price: Price | UnsetType = UNSET
    client_order_id: Text | UnsetType = UNSET
    reason: Text | UnsetType = UNSET
    reason_code: Text | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET


class Sentiment(Payload, frozen=True, kw_only=True):
    """How a scope (`MARKET` or a symbol) looks, from -1 (all against) to 1 (all for): the mean of `components`, each
    with its weight in `weights`."""

    scope: Symbol
    score: Annotated[float, Meta(ge=-1, le=1)]
    label: Literal["BEARISH", "NEUTRAL", "BULLISH"]
    components: dict[str, float] | UnsetType = UNSET
    weights: dict[str, float] | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET


class RiskAlert(Payload, frozen=True, kw_only=True):
    """A rule that was broken: `value` against `limit`, in the rule's unit. Null: there is no such number."""

    id: Id
    rule: Annotated[str, Meta(min_length=1, max_length=40)]
    message: Text
    value: Amount | None
    limit: Amount | None
    severity: Severity | UnsetType = UNSET
    symbol: Symbol | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    acknowledged_at: datetime | UnsetType | None = UNSET


class Pnl(Payload, frozen=True, kw_only=True):
    """Profit and loss; `daily_pnl` since the previous close. total = realised + unrealised - charges. Null: too few
    trades, or too few days, to say. `sharpe` is yearly (252 days), `max_drawdown` a share of the peak."""

    total_pnl: Amount
    realised_pnl: Amount
    unrealised_pnl: Amount
    daily_pnl: Amount
    total_value: Amount | UnsetType = UNSET
    charges: Amount | UnsetType = UNSET
    trade_count: int | UnsetType = UNSET
    win_rate: Probability | UnsetType | None = UNSET
    profit_factor: Amount | UnsetType | None = UNSET
    sharpe: Amount | UnsetType | None = UNSET
    max_drawdown: Probability | UnsetType = UNSET


class OptionGreeks(Payload, frozen=True, kw_only=True):
    """One option. theta per day, vega and rho per 1 % point. `iv` null: no volatility explains the price, for the
    reason in `iv_reason`; its Greeks are then those of the strike's other option, or null."""

    strike: Price
    option_type: OptionType
    price: Price
    iv: Amount | None
    delta: Amount | None
    gamma: Amount | None
    theta: Amount | None
    vega: Amount | None
    rho: Amount | None
    symbol: Symbol | UnsetType = UNSET
    iv_reason: Text | UnsetType = UNSET


class GreeksData(Payload, frozen=True, kw_only=True):
    """The Greeks of every listed option of an expiry."""

    underlying: Symbol
    expiry: date
    forward: Price
    options: Sequence[OptionGreeks]
    modelled: bool | UnsetType = UNSET


class VolatilityData(Payload, frozen=True, kw_only=True):
    """An expiry's volatility, annualised, 0.12 = 12 %. `skew` is the call's less the put's at 25 delta, `butterfly`
    what both are dearer than at the money. `volatility_index` is the underlying's, in points as India VIX; `iv_rank`
    and `iv_percentile` (0 to 100) are among a year of days. Null: not enough quotes, or days, to say."""

    underlying: Symbol
    expiry: date
    atm_iv: Annotated[float, Meta(ge=0, le=100)] | None
    realised_volatility: Annotated[float, Meta(ge=0, le=100)]
    skew: Amount | UnsetType | None = UNSET
    butterfly: Amount | UnsetType | None = UNSET
    pcr_open_interest: Amount | UnsetType | None = UNSET
    pcr_volume: Amount | UnsetType | None = UNSET
    max_pain: Price | UnsetType | None = UNSET
    volatility_index: Amount | UnsetType | None = UNSET
    iv_rank: Percentage | UnsetType | None = UNSET
    iv_percentile: Percentage | UnsetType | None = UNSET
    modelled: bool | UnsetType = UNSET


class ChainRow(Payload, frozen=True, kw_only=True):
    """The market at one strike. `iv`: of the side that is out of the money. Open interest and volume in units."""

    strike: Price
    call_price: Price
    put_price: Price
    iv: Amount | None
    call_bid: Price | UnsetType = UNSET
    call_ask: Price | UnsetType = UNSET
    call_open_interest: int | UnsetType = UNSET
    call_volume: int | UnsetType = UNSET
    put_bid: Price | UnsetType = UNSET
    put_ask: Price | UnsetType = UNSET
    put_open_interest: int | UnsetType = UNSET
    put_volume: int | UnsetType = UNSET


class OptionChain(Payload, frozen=True, kw_only=True):
    """A chain. `expiry` null and no rows: there is none yet."""

    underlying: Symbol
    expiry: date | None
    spot: Price
    forward: Price
    rows: Sequence[ChainRow]
    modelled: bool | UnsetType = UNSET


class PortfolioGreeks(Payload, frozen=True, kw_only=True):
    """A user's option positions together, in rupees per unit of the underlying's price. `unvalued`: how many of them
    have no Greeks at the moment, and count as nothing."""

    delta: Amount
    gamma: Amount
    theta: Amount
    vega: Amount
    rho: Amount
    position_count: Annotated[int, Meta(ge=0)]
    unvalued: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


# Signals


class RecentSignals(Reply, frozen=True, kw_only=True, tag="recent_signals"):
    """Snapshot: the latest signals of the subscribed topics, newest first."""

    signals: Sequence[Signal]
    count: int


class NewSignal(DataMessage, frozen=True, kw_only=True, tag="new_signal"):
    """A signal was opened."""

    signal: Signal


class SignalUpdate(DataMessage, frozen=True, kw_only=True, tag="signal_update"):
    """A signal changed: became active, hit its target or stop, expired or was cancelled."""

    signal: Signal


class SubscribeSymbol(Command, frozen=True, tag="subscribe_symbol"):
    """Follow a symbol's signals."""

    symbol: Symbol


class UnsubscribeSymbol(Command, frozen=True, tag="unsubscribe_symbol"):
    """Follow a symbol no more."""

    symbol: Symbol


class RequestSignals(Command, frozen=True, tag="request_signals"):
    """Ask for `recent_signals`."""


# Portfolio


class PortfolioSummary(Reply, frozen=True, kw_only=True, tag="portfolio_summary"):
    """Snapshot: totals and positions."""

    portfolio: Portfolio


class PortfolioUpdate(DataMessage, frozen=True, kw_only=True, tag="portfolio_update"):
    """The totals changed."""

    update: PortfolioTotals


class PositionUpdate(DataMessage, frozen=True, kw_only=True, tag="position_update"):
    """One position changed."""

    position: Position


class RequestPortfolio(Command, frozen=True, tag="request_portfolio"):
    """Ask for `portfolio_summary`."""


# Executions


class RecentExecutions(Reply, frozen=True, kw_only=True, tag="recent_executions"):
    """Snapshot: the latest executions, newest first."""

    executions: Sequence[Execution]
    count: int


class TradeExecuted(DataMessage, frozen=True, kw_only=True, tag="trade_executed"):
    """An order was filled, wholly or in part."""

    execution: Execution


class TradeFailed(DataMessage, frozen=True, kw_only=True, tag="trade_failed"):
    """An order could not be executed; `error` says why."""

    execution: Execution
    error: Text


class OrderUpdate(DataMessage, frozen=True, kw_only=True, tag="order_update"):
    """An order's state changed."""

    order: Order


class RequestExecutions(Command, frozen=True, tag="request_executions"):
    """Ask for `recent_executions`."""


# Sentiment


class CurrentSentiment(Reply, frozen=True, kw_only=True, tag="current_sentiment"):
    """Snapshot: every scope."""

    sentiments: Sequence[Sentiment]


class SentimentUpdate(DataMessage, frozen=True, kw_only=True, tag="sentiment_update"):
    """One scope changed."""

    sentiment: Sentiment


# Risk alerts


class ActiveAlerts(Reply, frozen=True, kw_only=True, tag="active_alerts"):
    """Snapshot: alerts that were not acknowledged, newest first."""

    alerts: Sequence[RiskAlert]
    count: int


class RiskAlertRaised(DataMessage, frozen=True, kw_only=True, tag="risk_alert"):
    """A rule was broken."""

    alert: RiskAlert
    severity: Severity


class AlertAcknowledged(DataMessage, frozen=True, kw_only=True, tag="alert_acknowledged"):
    """The user saw an alert, here or on another device."""

    alert: RiskAlert


class AcknowledgeAlert(Command, frozen=True, tag="acknowledge_alert"):
    """Mark an alert as seen."""

    alert_id: Id


# P&L


class CurrentPnl(Reply, frozen=True, kw_only=True, tag="current_pnl"):
    """Snapshot."""

    pnl: Pnl


class PnlUpdate(DataMessage, frozen=True, kw_only=True, tag="pnl_update"):
    """The account was marked to market."""

    pnl: Pnl


class RequestPnl(Command, frozen=True, tag="request_pnl"):
    """Ask for `current_pnl`."""


# F&O


class GreeksUpdate(DataMessage, frozen=True, kw_only=True, tag="greeks_update"):
    """The Greeks of an expiry."""

    data: GreeksData


class VolatilityUpdate(DataMessage, frozen=True, kw_only=True, tag="volatility_update"):
    """The volatility of an expiry."""

    data: VolatilityData


class OptionChainUpdate(DataMessage, frozen=True, kw_only=True, tag="option_chain_update"):
    """The chain of an expiry; also the snapshot."""

    data: OptionChain


class PortfolioGreeksUpdate(DataMessage, frozen=True, kw_only=True, tag="portfolio_greeks"):
    """The user's option positions; also the snapshot."""

    data: PortfolioGreeks


class SubscribeUnderlying(Command, frozen=True, tag="subscribe_symbol"):
    """Follow an underlying's options; `expiry` must be one that it has."""

    symbol: Symbol
    expiry: date | UnsetType = UNSET


class RequestOptionChain(Command, frozen=True, tag="request_option_chain"):
    """Ask for the chains of the underlying, or of one expiry."""

    symbol: Symbol
    expiry: date | UnsetType = UNSET
