"""From the analysis of a chain to the payloads of messages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from apps.trading import messages
from engines.options.chain import ChainAnalysis, SideAnalysis
from engines.options.quotes import ChainQuotes, SideQuotes
from engines.options.volatility_index import IvRank


class Labels(msgspec.Struct, frozen=True):
    """What the analysis of one expiry does not know itself."""

    symbols: Mapping[tuple[float, str], str]
    modelled: bool
    realised: float
    volatility_index: float | None
    rank: IvRank


def chain(quotes: ChainQuotes, analysis: ChainAnalysis, labels: Labels) -> messages.OptionChain:
    """Prices, open interest and volume by strike."""
    calls, puts = analysis.calls, analysis.puts
    columns = zip(
        analysis.strikes,
        analysis.smile,
        _side(quotes.calls, calls),
        _side(quotes.puts, puts),
        strict=True,
    )
    rows = [
        messages.ChainRow(
            strike=strike,
            iv=_rounded(iv, 4),
            call_price=call[0],
            call_bid=call[1],
            call_ask=call[2],
            call_open_interest=call[3],
            call_volume=call[4],
            put_price=put[0],
            put_bid=put[1],
            put_ask=put[2],
            put_open_interest=put[3],
            put_volume=put[4],
        )
        for strike, iv, call, put in columns
    ]
    return messages.OptionChain(
        underlying=analysis.underlying,
        expiry=analysis.expiry,
        spot=round(analysis.spot or 0.0, 2),
        forward=round(analysis.forward or 0.0, 2),
        rows=rows,
        modelled=labels.modelled,
    )


def greeks(analysis: ChainAnalysis, labels: Labels) -> messages.GreeksData:
    """Implied volatility and Greeks of every option."""
    sides: tuple[tuple[messages.OptionType, SideAnalysis], ...] = (("CE", analysis.calls), ("PE", analysis.puts))
    options = [
        messages.OptionGreeks(
            strike=strike,
            option_type=option_type,
            symbol=labels.symbols.get((strike, option_type), UNSET),
            price=round(price or 0.0, 2),
            iv=_rounded(iv, 6),
            iv_reason=UNSET if reason is None else str(reason),
            delta=_rounded(delta, 5),
            gamma=_rounded(gamma, 8),
            theta=_rounded(theta, 4),
            vega=_rounded(vega, 4),
            rho=_rounded(rho, 4),
        )
        for option_type, side in sides
        for strike, price, iv, reason, delta, gamma, theta, vega, rho in zip(
            analysis.strikes,
            side.price,
            side.iv,
            side.reason,
            side.delta,
            side.gamma,
            side.theta,
            side.vega,
            side.rho,
            strict=True,
        )
    ]
    return messages.GreeksData(
        underlying=analysis.underlying,
        expiry=analysis.expiry,
        forward=round(analysis.forward or 0.0, 2),
        options=options,
        modelled=labels.modelled,
    )


def volatility(analysis: ChainAnalysis, labels: Labels) -> messages.VolatilityData:
    """What the chain says as a whole."""
    iv = analysis.atm_iv
    return messages.VolatilityData(
        underlying=analysis.underlying,
        expiry=analysis.expiry,
        atm_iv=_rounded(iv, 4),
        realised_volatility=round(labels.realised, 4),
        skew=_rounded(analysis.risk_reversal_25, 4),
        butterfly=_rounded(analysis.butterfly_25, 4),
        pcr_open_interest=_rounded(analysis.pcr_open_interest, 4),
        pcr_volume=_rounded(analysis.pcr_volume, 4),
        max_pain=analysis.max_pain,
        volatility_index=_rounded(labels.volatility_index, 2),
        iv_rank=None if iv is None else _rounded(labels.rank.iv_rank(iv), 2),
        iv_percentile=None if iv is None else _rounded(labels.rank.iv_percentile(iv), 2),
        modelled=labels.modelled,
    )


def _side(quoted: SideQuotes, side: SideAnalysis) -> list[tuple[float, float | UnsetType, float | UnsetType, int, int]]:
    """Price, bid, ask, open interest and volume by strike."""
    bids, asks = quoted.bid.tolist(), quoted.ask.tolist()
    return [
        (
            round(price or 0.0, 2),
            bid if bid > 0 else UNSET,
            ask if ask > 0 else UNSET,
            int(interest),
            int(volume),
        )
        for price, bid, ask, interest, volume in zip(
            side.price, bids, asks, side.open_interest, side.volume, strict=True
        )
    ]


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)
