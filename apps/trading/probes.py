"""How `test_websockets` sees that each trading stream delivers. State streams get their present values again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from django.db.models import Model

from apps.accounts.models import User
from apps.streaming.plugins import Probe
from apps.trading import accounts, messages, option_positions, services

_SYMBOL = "PROBE"
_TEXT = "connectivity test"


def probes(user: User, created: list[Model]) -> Sequence[Probe]:  # noqa: ARG001 - nothing needs creating here
    """One per stream, in the order of the URLs."""
    user_id = str(user.pk)
    probe_id = f"probe-{secrets.token_hex(6)}"
    portfolio = _plain(accounts.portfolio(user_id))
    totals = {name: portfolio[name] for name in messages.PortfolioTotals.__struct_fields__}
    sentiments = services.current_sentiments()
    sentiment = _plain(sentiments[0]) if sentiments else {"scope": "MARKET", "score": 0.0, "label": "NEUTRAL"}
    signal = {"id": probe_id, "symbol": _SYMBOL, "signal_type": "HOLD", "confidence_score": 0.0, "entry_price": 0.0}
    order = {
        "id": probe_id,
        "symbol": _SYMBOL,
        "side": "BUY",
        "quantity": 1,
        "filled_quantity": 0,
        "leaves_quantity": 0,
        "status": "REJECTED",
        "reason": _TEXT,
    }
    alert = {"id": probe_id, "rule": "connectivity_test", "message": _TEXT, "value": 0.0, "limit": 0.0}
    return [
        _probe("trading.signals", "notify_new_signal", "new_signal", user_id, signal={**signal, "strategy": _TEXT}),
        _probe("trading.portfolio", "notify_portfolio_update", "portfolio_update", user_id, update=totals),
        _probe("trading.executions", "notify_order_update", "order_update", user_id, order=order),
        _probe("trading.sentiment", "notify_sentiment_update", "sentiment_update", None, sentiment=sentiment),
        _probe("trading.risk-alerts", "notify_risk_alert", "risk_alert", user_id, alert=alert, severity="INFO"),
        _probe("trading.pnl", "notify_pnl_update", "pnl_update", user_id, pnl=_plain(accounts.pnl(user_id))),
        _probe(
            "trading.fno",
            "notify_portfolio_greeks",
            "portfolio_greeks",
            user_id,
            data=_plain(option_positions.greeks_of(user_id)),
        ),
    ]


def _probe(stream: str, notify: str, message_type: str, user_id: str | None, **fields: Any) -> Probe:
    arguments = fields if user_id is None else {"user_id": user_id, **fields}
    return Probe(stream, "", notify, arguments, message_type, fields)


def _plain(payload: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(payload)
    return plain
