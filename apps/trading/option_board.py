"""Publishes the modelled option chains of the indices. Synchronous; run in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from apps.trading import bookkeeping, messages, services, websocket_utils
from engines.market.calendar import monthly_expiry, weekly_expiry
from engines.options.black76 import Greeks
from engines.options.chain import Chain, modelled_chain, years_to_expiry


def publish(spots: Mapping[str, float], volatility: Mapping[str, float], now: datetime) -> None:
    """Price the nearest expiry of each underlying; send chain, Greeks and volatility, then everyone's own Greeks."""
    for underlying, spot in spots.items():
        expiry = weekly_expiry(now.date()) if underlying == "NIFTY" else monthly_expiry(now.date())
        chain = modelled_chain(underlying, spot, volatility[underlying], now, expiry)
        chain_message, greeks_message = _chain(chain), _greeks(chain)
        services.save_chain(
            chain_message,
            forward=chain.forward,
            volatility=chain.volatility,
            years=years_to_expiry(now, expiry),
        )
        for expired in services.drop_chains_before(underlying, now.date()):
            websocket_utils.forget_expiry(underlying, expired)
        bookkeeping.open_demo_options(underlying, expiry, chain.strikes, spot)
        websocket_utils.notify_option_chain_update(chain_message)
        websocket_utils.notify_greeks_update(greeks_message)
        websocket_utils.notify_volatility_update(_volatility(chain))
    bookkeeping.publish_portfolio_greeks()


def _chain(chain: Chain) -> messages.OptionChain:
    rows = [
        messages.ChainRow(
            strike=strike,
            call_price=round(max(0.0, call), 2),
            put_price=round(max(0.0, put), 2),
            iv=round(chain.volatility, 4),
        )
        for strike, call, put in zip(chain.strikes, chain.calls.price.tolist(), chain.puts.price.tolist(), strict=True)
    ]
    return messages.OptionChain(
        underlying=chain.underlying,
        expiry=chain.expiry,
        spot=round(chain.spot, 2),
        forward=round(chain.forward, 2),
        rows=rows,
        modelled=True,
    )


def _greeks(chain: Chain) -> messages.GreeksData:
    sides: tuple[tuple[messages.OptionType, Greeks], ...] = (("CE", chain.calls), ("PE", chain.puts))
    options = [
        messages.OptionGreeks(
            strike=strike,
            option_type=option_type,
            iv=round(chain.volatility, 4),
            price=round(max(0.0, price), 2),
            delta=round(delta, 5),
            gamma=round(gamma, 8),
            theta=round(theta, 4),
            vega=round(vega, 4),
            rho=round(rho, 4),
        )
        for option_type, side in sides
        for strike, price, delta, gamma, theta, vega, rho in zip(
            chain.strikes, *(column.tolist() for column in msgspec.structs.astuple(side)), strict=True
        )
    ]
    return messages.GreeksData(
        underlying=chain.underlying,
        expiry=chain.expiry,
        forward=round(chain.forward, 2),
        options=options,
        modelled=True,
    )


def _volatility(chain: Chain) -> messages.VolatilityData:
    """A modelled chain is priced at realised volatility, so the two are one here."""
    return messages.VolatilityData(
        underlying=chain.underlying,
        expiry=chain.expiry,
        atm_iv=round(chain.volatility, 4),
        realised_volatility=round(chain.volatility, 4),
        modelled=True,
    )
