"""What the quotes of one expiry's options say: forward, implied volatilities, Greeks, smile and open interest."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Literal

import msgspec
import numpy as np

from engines.market.calendar import IST, SESSION_CLOSE, SESSION_SECONDS, TRADING_DAYS_PER_YEAR
from engines.market.quotes import DAY_SECONDS, Bar
from engines.options.black76 import Array, greeks
from engines.options.implied_volatility import EXPIRED, NO_FORWARD, NO_PRICE, REASONS, Reason, implied_volatility
from engines.options.parity import synthetic_forward
from engines.options.quotes import GREATEST, LEAST, ChainQuotes, SideQuotes
from engines.options.smile import Smile, max_pain, ratio, smile_of

RATE = 0.065
"""What callers may take who have no better; nothing here does."""
_SECONDS_PER_YEAR = 365 * 86_400
_BELIEVED_BASIS = 0.2
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")

Numbers = list[float | None]


class SideAnalysis(msgspec.Struct, frozen=True):
    """The calls, or the puts: one item per strike, None where there is none, never NaN.

    `price` is the middle of bid and ask where `two_sided`, else the last price. `iv` is implied by it; where that is
    None `reason` says why. The Greeks (units: `black76.Greeks`) are at `iv`; of an option that has none, at the
    volatility of its strike's other option, which by put-call parity is its own; None when that has none either.
    """

    price: Numbers
    two_sided: list[bool]
    iv: Numbers
    reason: list[Reason | None]
    delta: Numbers
    gamma: Numbers
    theta: Numbers
    vega: Numbers
    rho: Numbers
    open_interest: list[float]
    volume: list[float]


class ChainAnalysis(msgspec.Struct, frozen=True):
    """One expiry at one moment. Volatilities are per year, as fractions. No number in it is NaN or infinite.

    `forward` is that of put-call parity (`parity`), else the spot carried at the rate (`spot`). `smile`, `atm_iv`,
    `risk_reversal_25` and `butterfly_25` are as `smile.Smile` says. The put-call ratios are None without calls.
    """

    underlying: str
    expiry: date
    time: datetime
    years: float
    rate: float
    spot: float | None
    forward: float | None
    forward_source: Literal["parity", "spot"] | None
    strikes: list[float]
    calls: SideAnalysis
    puts: SideAnalysis
    smile: Numbers
    atm_iv: float | None
    risk_reversal_25: float | None
    butterfly_25: float | None
    pcr_open_interest: float | None
    pcr_volume: float | None
    max_pain: float | None
    call_open_interest: float
    put_open_interest: float
    call_volume: float
    put_volume: float


def analyse(chain: ChainQuotes, now: datetime, rate: float) -> ChainAnalysis:
    """Analyse quotes, whatever they hold, at `now` (aware) and the continuously compounded `rate` per year.

    After 15:30 IST of the expiry every option is `expired`. Raises `ValueError` for a rate outside -1..1.
    """
    if not -1 <= rate <= 1:
        raise ValueError(f"the rate must be a fraction per year within -1..1, came {rate!r}")
    years = max(0.0, _seconds_to_expiry(now, chain.expiry) / _SECONDS_PER_YEAR)
    strikes, count = chain.strikes, chain.strikes.size
    spot = chain.spot if LEAST <= chain.spot < GREATEST else None
    forward, source = _forward(chain, spot, rate, years)
    prices = np.concatenate((chain.calls.price, chain.puts.price))
    both_strikes = np.concatenate((strikes, strikes))
    is_call = np.arange(2 * count) < count
    smile = Smile(np.full(count, math.nan), None, None, None)
    volatility = np.full(2 * count, math.nan)
    measures = np.full((len(_GREEKS), 2 * count), math.nan)
    if forward is None or years <= 0:
        reason = np.full(2 * count, EXPIRED) if years <= 0 else np.where(np.isnan(prices), NO_PRICE, NO_FORWARD)
    else:
        implied = implied_volatility(prices, forward, both_strikes, years, rate, is_call=is_call)
        volatility, reason = implied.volatility, implied.reason
        smile = smile_of(strikes, volatility[:count], volatility[count:], forward, years)
        used = np.where(np.isnan(volatility), np.concatenate((smile.volatility, smile.volatility)), volatility)
        unknown = np.isnan(used)
        found = greeks(forward, both_strikes, years, np.where(unknown, 1.0, used), rate, is_call=is_call)
        measures = np.where(unknown, math.nan, [getattr(found, name) for name in _GREEKS])
    table = [_numbers(row) for row in (prices, volatility, *measures)]
    reasons = [REASONS[code] for code in reason.tolist()]
    interest = [_counted(side.open_interest) for side in (chain.calls, chain.puts)]
    volume = [_counted(side.volume) for side in (chain.calls, chain.puts)]
    calls, puts = (
        _side(side, [row[part] for row in table], reasons[part], of_interest, of_volume)
        for side, part, of_interest, of_volume in zip(
            (chain.calls, chain.puts), (slice(count), slice(count, None)), interest, volume, strict=True
        )
    )
    call_interest, put_interest = (float(counts.sum()) for counts in interest)
    call_volume, put_volume = (float(counts.sum()) for counts in volume)
    return ChainAnalysis(
        underlying=chain.underlying,
        expiry=chain.expiry,
        time=now,
        years=years,
        rate=rate,
        spot=spot,
        forward=forward,
        forward_source=source,
        strikes=strikes.tolist(),
        calls=calls,
        puts=puts,
        smile=_numbers(smile.volatility),
        atm_iv=smile.at_the_money,
        risk_reversal_25=smile.risk_reversal,
        butterfly_25=smile.butterfly,
        pcr_open_interest=ratio(put_interest, call_interest),
        pcr_volume=ratio(put_volume, call_volume),
        max_pain=max_pain(strikes, *interest),
        call_open_interest=call_interest,
        put_open_interest=put_interest,
        call_volume=call_volume,
        put_volume=put_volume,
    )


def _forward(
    chain: ChainQuotes, spot: float | None, rate: float, years: float
) -> tuple[float | None, Literal["parity", "spot"] | None]:
    """A parity forward that is more than 20 % off the carried spot comes from bad quotes."""
    carried = None if spot is None else spot * math.exp(rate * years)
    implied = synthetic_forward(chain.strikes, chain.calls, chain.puts, math.exp(-rate * years))
    if implied is not None and implied >= LEAST and (carried is None or abs(implied / carried - 1) <= _BELIEVED_BASIS):
        return implied, "parity"
    return carried, None if carried is None else "spot"


def _side(
    side: SideQuotes, rows: list[Numbers], reasons: list[Reason | None], interest: Array, volume: Array
) -> SideAnalysis:
    price, iv, delta, gamma, theta, vega, rho = rows
    return SideAnalysis(
        price=price,
        two_sided=side.two_sided.tolist(),
        iv=iv,
        reason=reasons,
        delta=delta,
        gamma=gamma,
        theta=theta,
        vega=vega,
        rho=rho,
        open_interest=interest.tolist(),
        volume=volume.tolist(),
    )


def _counted(counts: Array) -> Array:
    return np.where((counts >= 1) & (counts < GREATEST), counts, 0.0)


def _numbers(values: Array) -> Numbers:
    finite = np.isfinite(values)
    numbers: Numbers = values.tolist()
    if not finite.all():
        for index in np.flatnonzero(~finite).tolist():
            numbers[index] = None
    return numbers


class RealisedVolatility:
    """Annualised volatility of log returns, exponentially weighted (RiskMetrics, lambda 0.97).

    Of bars shorter than a day only returns within a session count: over night the market moves without trading, and
    that says nothing about a minute.
    """

    def __init__(self, bar_seconds: int, *, decay: float = 0.97) -> None:
        self._daily = bar_seconds >= DAY_SECONDS
        self._decay = decay
        self._last: Bar | None = None
        self._variance_per_second: float | None = None

    def add(self, bar: Bar) -> None:
        last, self._last = self._last, bar
        if last is None or not (self._daily or last.time.date() == bar.time.date()):
            return
        seconds = SESSION_SECONDS if self._daily else (bar.time - last.time).total_seconds()
        squared = math.log(bar.close / last.close) ** 2 / seconds
        before = self._variance_per_second
        self._variance_per_second = squared if before is None else self._decay * before + (1 - self._decay) * squared

    @property
    def annualised(self) -> float:
        """At least 5 %: a market that stood still for a while still has priced options."""
        per_year = SESSION_SECONDS * TRADING_DAYS_PER_YEAR
        return max(0.05, math.sqrt((self._variance_per_second or 0.0) * per_year))


def _seconds_to_expiry(now: datetime, expiry: date) -> float:
    return (datetime.combine(expiry, SESSION_CLOSE, IST) - now).total_seconds()
