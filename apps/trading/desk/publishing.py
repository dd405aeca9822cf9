"""What users are told of their accounts while somebody watches, and what is forgotten when nobody does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from apps.streaming.validation import to_payload
from apps.trading import messages, present, websocket_utils
from apps.trading.desk.account import AccountState
from engines.trading.book import Position, Totals

log = logging.getLogger(__name__)


def publish_account(state: AccountState) -> None:
    """Totals, profit and loss of one account, as a part of the running transaction."""
    publish_totals([(state, state.book.totals())])


def publish_everything(state: AccountState) -> None:
    """All that a snapshot holds, for who began to watch while nobody published."""
    for held in state.book.positions.values():
        websocket_utils.notify_position_update(state.user_id, present.position(held))
    publish_account(state)


def publish_positions(state: AccountState, changed: Iterable[Position]) -> None:
    """Positions whose price, or quantity, changed."""
    for held in changed:
        websocket_utils.notify_position_update(state.user_id, present.position(held))


def publish_totals(of_accounts: Sequence[tuple[AccountState, Totals]]) -> None:
    """Totals, profit and loss of many accounts in one pass. One that cannot be told does not hold up the rest."""
    portfolios, pnls = {}, {}
    for state, totals in of_accounts:
        try:
            portfolio = present.portfolio_totals(totals, state.margin_blocked)
            pnl = present.pnl(totals, state.record, state.sharpe, state.max_drawdown)
            portfolios[state.user_id] = to_payload(messages.PortfolioTotals, portfolio, "update")
            pnls[state.user_id] = to_payload(messages.Pnl, pnl, "pnl")
        except ValueError:
            log.exception("the totals of account %s cannot be told", state.account_id)
    websocket_utils.notify_portfolio_updates(portfolios)
    websocket_utils.notify_pnl_updates(pnls)


def forget_account(state: AccountState) -> None:
    """Nobody watches any more: what was told last would be old news for who comes next."""
    websocket_utils.forget_account(state.user_id, list(state.book.positions))
