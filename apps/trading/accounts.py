"""Accounts as the database has them: books, totals, profit and loss. The engine's memory says the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from apps.trading import messages, models, present
from apps.trading.services import RECENT
from engines.trading.book import Book, Position
from engines.trading.performance import TradeStats

COLUMNS = tuple(field for field in Position.__dataclass_fields__ if field != "symbol")


def account_of(user_id: str) -> models.Account:
    """The user's account; one with the default cash, and not saved, when there is none yet."""
    return models.Account.objects.filter(user_id=user_id).first() or models.Account(user_id=user_id)


def last_prices(symbols: Iterable[str] | None = None) -> dict[str, Decimal]:
    """The prices of the latest marking, of these symbols or of all."""
    rows = models.LastPrice.objects.all() if symbols is None else models.LastPrice.objects.filter(symbol__in=symbols)
    return dict(rows.values_list("symbol", "price"))


def load_book(account: models.Account) -> Book:
    """The account's books, marked at the latest prices."""
    rows = list(account.positions.all()) if account.pk else []
    return book_of(account, rows, last_prices(row.symbol for row in rows) if rows else {})


def book_of(account: models.Account, rows: Iterable[models.Position], prices: Mapping[str, Decimal]) -> Book:
    """The books that these rows are, marked at these prices."""
    positions = {row.symbol: Position(row.symbol, **{name: getattr(row, name) for name in COLUMNS}) for row in rows}
    book = Book(opening_cash=account.opening_cash, cash=account.cash, positions=positions)
    book.mark(prices)
    return book


def record_of(account: models.Account) -> TradeStats:
    """What the account's closed trades came to."""
    return TradeStats(
        trades=account.trade_count,
        wins=account.win_count,
        losses=account.loss_count,
        gross_profit=account.gross_profit,
        gross_loss=account.gross_loss,
    )


def portfolio(user_id: str) -> messages.Portfolio:
    """Totals and open positions."""
    account = account_of(user_id)
    book = load_book(account)
    totals = present.portfolio_totals(book.totals(), account.margin_blocked)
    return messages.Portfolio(**msgspec.structs.asdict(totals), positions=open_positions(book))


def open_positions(book: Book) -> list[messages.Position]:
    """The positions that are not flat."""
    return [present.position(held) for held in book.positions.values() if held.quantity]


def positions(user_id: str) -> list[messages.Position]:
    """The user's open positions."""
    return open_positions(load_book(account_of(user_id)))


def pnl(user_id: str) -> messages.Pnl:
    """Profit and loss at the latest prices."""
    account = account_of(user_id)
    totals = load_book(account).totals()
    return present.pnl(totals, record_of(account), account.sharpe, account.max_drawdown)


def recent_executions(user_id: str) -> list[messages.Execution]:
    """The latest fills and failures, newest first."""
    rows = models.Execution.objects.filter(order__account__user_id=user_id).select_related("order")
    return [present.execution(row) for row in rows[:RECENT]]
