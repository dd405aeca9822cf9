"""The seven trading streams: topics, access, snapshots and commands."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from apps.streaming.stream import Outcome, Stream, StreamContext, Subscribe, Unsubscribe
from apps.streaming.threads import in_database, in_database_together
from apps.trading import accounts, option_positions, services
from apps.trading import messages as wire
from apps.trading import topics as addresses
from realtime.errors import CommandFailed
from realtime.messages import ServerMessage
from realtime.topic import Topic


class SignalsStream(Stream):
    """Signals for the user, and for the symbols of the watchlist and of `subscribe_symbol`."""

    name = "trading.signals"
    path = "trading/signals/"
    summary = "Trading signals for you and for the symbols you follow."
    commands = (wire.SubscribeSymbol, wire.UnsubscribeSymbol, wire.RequestSignals)
    messages = (wire.RecentSignals, wire.NewSignal, wire.SignalUpdate)

    def __init__(self, context: StreamContext) -> None:
        super().__init__(context)
        self._followed: set[str] = set()

    async def topics(self) -> Sequence[Topic]:
        symbols = await in_database_together(services.watchlists, self.context.user_id) or ()
        self._followed.update(symbols)
        return [addresses.user_signals(self.context.user_id), *(addresses.symbol_signals(symbol) for symbol in symbols)]

    async def topic_named(self, name: str) -> Topic | None:
        symbol = addresses.symbol_of(name)
        if symbol is None or not await in_database_together(services.are_known, symbol):
            return await super().topic_named(name)
        self._followed.add(symbol)
        return addresses.symbol_signals(symbol)

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        mine = addresses.user_signals(self.context.user_id)
        symbols = [symbol for topic in topics if (symbol := addresses.symbol_of(topic.name)) is not None]
        return await self._recent(symbols, own=mine in topics)

    async def on_subscribe_symbol(self, command: wire.SubscribeSymbol) -> Outcome:
        if not await in_database_together(services.are_known, command.symbol):
            raise CommandFailed("unknown_symbol", f"Unknown symbol {command.symbol!r}")
        return Subscribe((addresses.symbol_signals(command.symbol),))

    def subscribed(self, topics: Sequence[Topic]) -> None:
        self._followed.update(symbol for topic in topics if (symbol := addresses.symbol_of(topic.name)) is not None)

    async def on_unsubscribe_symbol(self, command: wire.UnsubscribeSymbol) -> Outcome:
        self._followed.discard(command.symbol)
        return Unsubscribe((addresses.symbol_signals(command.symbol),))

    async def on_request_signals(self, command: wire.RequestSignals) -> Outcome:
        return await self._recent(sorted(self._followed), own=True)

    async def _recent(self, symbols: Sequence[str], *, own: bool) -> Sequence[ServerMessage]:
        wanted = services.SignalsWanted(self.context.user_id if own else None, frozenset(symbols))
        signals = await in_database_together(services.recent_signals, wanted) or ()
        return [wire.RecentSignals(signals=signals, count=len(signals), timestamp=self.context.now())]


class PortfolioStream(Stream):
    """The user's totals and positions."""

    name = "trading.portfolio"
    path = "trading/portfolio/"
    summary = "Your portfolio and positions, marked to market."
    commands = (wire.RequestPortfolio,)
    messages = (wire.PortfolioSummary, wire.PortfolioUpdate, wire.PositionUpdate)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.portfolio(self.context.user_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        portfolio = await in_database(accounts.portfolio, self.context.user_id)
        return [wire.PortfolioSummary(portfolio=portfolio, timestamp=self.context.now())]

    async def on_request_portfolio(self, command: wire.RequestPortfolio) -> Outcome:
        return await self.snapshot(())


class ExecutionsStream(Stream):
    """The user's orders and fills."""

    name = "trading.executions"
    path = "trading/executions/"
    summary = "Your orders and fills."
    commands = (wire.RequestExecutions,)
    messages = (wire.RecentExecutions, wire.TradeExecuted, wire.TradeFailed, wire.OrderUpdate)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.executions(self.context.user_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        executions = await in_database(accounts.recent_executions, self.context.user_id)
        return [wire.RecentExecutions(executions=executions, count=len(executions), timestamp=self.context.now())]

    async def on_request_executions(self, command: wire.RequestExecutions) -> Outcome:
        return await self.snapshot(())


class SentimentStream(Stream):
    """Sentiment of the market and of each symbol; the same for everyone."""

    name = "trading.sentiment"
    path = "trading/sentiment/"
    summary = "Sentiment of the market and of each symbol."
    messages = (wire.CurrentSentiment, wire.SentimentUpdate)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.sentiment()]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        sentiments = await in_database(services.current_sentiments)
        return [wire.CurrentSentiment(sentiments=sentiments, timestamp=self.context.now())]


class RiskAlertsStream(Stream):
    """The user's risk alerts."""

    name = "trading.risk-alerts"
    path = "trading/risk-alerts/"
    summary = "Alerts of your risk rules."
    commands = (wire.AcknowledgeAlert,)
    messages = (wire.ActiveAlerts, wire.RiskAlertRaised, wire.AlertAcknowledged)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.risk(self.context.user_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        alerts = await in_database(services.active_alerts, self.context.user_id)
        return [wire.ActiveAlerts(alerts=alerts, count=len(alerts), timestamp=self.context.now())]

    async def on_acknowledge_alert(self, command: wire.AcknowledgeAlert) -> Outcome:
        alert = await in_database(services.acknowledge_alert, self.context.user_id, command.alert_id)
        if alert is None:
            raise CommandFailed("unknown_alert", f"You have no alert {command.alert_id!r}")
        return [wire.AlertAcknowledged(alert=alert, timestamp=self.context.now())]


class PnlStream(Stream):
    """The user's profit and loss."""

    name = "trading.pnl"
    path = "trading/pnl/"
    summary = "Your profit and loss, live."
    commands = (wire.RequestPnl,)
    messages = (wire.CurrentPnl, wire.PnlUpdate)

    async def topics(self) -> Sequence[Topic]:
        return [addresses.pnl(self.context.user_id)]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        pnl = await in_database(accounts.pnl, self.context.user_id)
        return [wire.CurrentPnl(pnl=pnl, timestamp=self.context.now())]

    async def on_request_pnl(self, command: wire.RequestPnl) -> Outcome:
        return await self.snapshot(())


class FnoStream(Stream):
    """Option chains, Greeks and volatility per underlying, and the user's own Greeks."""

    name = "trading.fno"
    path = "trading/fno/"
    summary = "Option chains, Greeks and volatility; your own Greeks."
    commands = (wire.SubscribeUnderlying, wire.UnsubscribeSymbol, wire.RequestOptionChain)
    messages = (
        wire.OptionChainUpdate,
        wire.GreeksUpdate,
        wire.VolatilityUpdate,
        wire.PortfolioGreeksUpdate,
    )

    async def topics(self) -> Sequence[Topic]:
        underlyings = await in_database(services.underlyings)
        return [
            *(addresses.underlying_options(underlying) for underlying in underlyings),
            addresses.user_options(self.context.user_id),
        ]

    async def snapshot(self, topics: Sequence[Topic]) -> Sequence[ServerMessage]:
        found: list[ServerMessage] = []
        for topic in topics:
            underlying = addresses.underlying_of(topic.name)
            if underlying is not None:
                found += await self._chains(underlying)
        greeks = await in_database(option_positions.greeks_of, self.context.user_id)
        found.append(wire.PortfolioGreeksUpdate(data=greeks, timestamp=self.context.now()))
        return found

    async def on_subscribe_symbol(self, command: wire.SubscribeUnderlying) -> Outcome:
        await self._check(command.symbol, command.expiry)
        return Subscribe((addresses.underlying_options(command.symbol),))

    async def on_unsubscribe_symbol(self, command: wire.UnsubscribeSymbol) -> Outcome:
        return Unsubscribe((addresses.underlying_options(command.symbol),))

    async def on_request_option_chain(self, command: wire.RequestOptionChain) -> Outcome:
        await self._check(command.symbol, command.expiry)
        return await self._chains(command.symbol, command.expiry)

    async def _check(self, underlying: str, expiry: object) -> None:
        known = await in_database(services.underlyings)
        if underlying not in known:
            raise CommandFailed(
                "unknown_symbol", f"Unknown symbol {underlying!r}; there are options on {', '.join(known)}"
            )
        if expiry is UNSET:
            return
        expiries = await in_database(services.expiries, underlying)
        if expiry not in expiries:
            listed = ", ".join(map(str, expiries)) or "none yet"
            raise CommandFailed("unknown_expiry", f"{underlying} has no expiry {expiry}; it has {listed}")

    async def _chains(self, underlying: str, expiry: object = UNSET) -> list[ServerMessage]:
        wanted = None if expiry is UNSET else expiry
        chains = await in_database(services.option_chains, underlying, wanted)
        return [wire.OptionChainUpdate(data=chain, timestamp=self.context.now()) for chain in chains]
