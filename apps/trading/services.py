"""What may be read and done in trading: access and persistence. Synchronous; call it from a thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from functools import reduce
from itertools import chain
from operator import attrgetter, or_
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.streaming.latest import latest_of_each
from apps.trading import messages, models, present
from apps.trading.websocket_utils import notify_alert_acknowledged
from engines.market.feeds.base import Feed
from engines.market.instruments import Instrument

RECENT = 50
_columns = models.Instrument._meta.concrete_fields  # noqa: SLF001 - Django's documented name
_DESCRIPTION = tuple(column.name for column in _columns if not column.primary_key)
MAX_READ_TOGETHER = 500  # users and symbols, of each of which fifty rows may be read


# Instruments and watchlists


def source_of(feed: Feed) -> models.Instrument.Source:
    """What a feed's instruments are marked with."""
    if feed.simulated:
        return models.Instrument.Source.SIMULATED
    return models.Instrument.Source.LIVE if feed.is_live else models.Instrument.Source.REPLAY


def register_instruments(instruments: Iterable[Instrument], source: models.Instrument.Source) -> None:
    """Make a feed's instruments known."""
    rows = [
        models.Instrument(
            symbol=i.symbol,
            name=i.name,
            kind=i.kind,
            source=source,
            exchange=i.exchange,
            lot_size=i.lot_size,
            tick_size=i.tick_size,
            multiplier=i.multiplier,
            underlying=i.underlying,
            expiry=i.expiry,
            strike=i.strike,
            option_type=i.option_type or "",
        )
        for i in instruments
    ]
    models.Instrument.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=("symbol",), update_fields=_DESCRIPTION, batch_size=500
    )


def instruments_of(symbols: Collection[str]) -> dict[str, Instrument]:
    """The engine's instruments of these symbols, as far as they are known."""
    return {
        row.symbol: Instrument(
            symbol=row.symbol,
            name=row.name,
            kind=row.kind,  # type: ignore[arg-type]
            exchange=row.exchange,
            lot_size=row.lot_size,
            tick_size=row.tick_size,
            multiplier=row.multiplier,
            underlying=row.underlying,
            expiry=row.expiry,
            strike=row.strike,
            option_type=row.option_type or None,  # type: ignore[arg-type]
        )
        for row in models.Instrument.objects.filter(symbol__in=symbols)
    }


def drop_expired_instruments(day: date) -> int:
    """Forget contracts that expired before the day and that nobody holds. How many there were."""
    held = models.Position.objects.exclude(quantity=0).values_list("symbol", flat=True)
    return models.Instrument.objects.filter(expiry__lt=day).exclude(symbol__in=held).delete()[0]


def are_known(symbols: Collection[str]) -> dict[str, bool]:
    """Whether there is an instrument of each of these symbols. One query, however many."""
    known = set(models.Instrument.objects.filter(symbol__in=symbols).values_list("symbol", flat=True))
    return {symbol: symbol in known for symbol in symbols}


def watchlist(user_id: str) -> list[str]:
    """The symbols that a user watches."""
    return watchlists([user_id])[user_id]


def watchlists(user_ids: Collection[str]) -> dict[str, list[str]]:
    """The symbols that each of these users watches. One query, however many."""
    found: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
    items = models.WatchlistItem.objects.filter(user_id__in=user_ids).values_list("user_id", "instrument_id")
    for user_id, symbol in items:
        found[str(user_id)].append(symbol)
    return found


def set_watchlist(user_id: str, symbols: Collection[str]) -> list[str]:
    """Replace a user's watchlist. Raises `ValueError` naming unknown symbols, and then changes nothing."""
    unknown = sorted(symbol for symbol, is_known in are_known(symbols).items() if not is_known)
    if unknown:
        raise ValueError(f"unknown symbols: {', '.join(unknown)}")
    wanted = sorted(set(symbols))
    models.WatchlistItem.objects.filter(user_id=user_id).exclude(instrument_id__in=wanted).delete()
    models.WatchlistItem.objects.bulk_create(
        [models.WatchlistItem(user_id=user_id, instrument_id=symbol) for symbol in wanted], ignore_conflicts=True
    )
    return wanted


# Signals


class SignalsWanted(msgspec.Struct, frozen=True):
    """The signals of these symbols and, with `user_id`, those of this user."""

    user_id: str | None
    symbols: frozenset[str]


def recent_signals(asked: Collection[SignalsWanted]) -> dict[SignalsWanted, list[messages.Signal]]:
    """The latest signals that each asks for, newest first. Where many ask for much the same, few queries."""
    user_ids = {wanted.user_id for wanted in asked if wanted.user_id is not None}
    symbols = {symbol for wanted in asked for symbol in wanted.symbols}
    if len(asked) == 1 or len(user_ids) + len(symbols) > MAX_READ_TOGETHER:
        return {wanted: _recent_signals(wanted) for wanted in asked}
    of_user, of_symbol = defaultdict(list), defaultdict(list)
    for row in latest_of_each(models.Signal.objects.all(), "user_id", user_ids, RECENT):
        of_user[str(row.user_id)].append(row)
    for row in latest_of_each(models.Signal.objects.filter(user=None), "symbol", symbols, RECENT):
        of_symbol[row.symbol].append(row)
    found = {}
    for wanted in asked:
        rows = chain(of_user.get(wanted.user_id or "", ()), *(of_symbol.get(symbol, ()) for symbol in wanted.symbols))
        newest = sorted(rows, key=attrgetter("created_at"), reverse=True)[:RECENT]
        found[wanted] = [present.signal(row) for row in newest]
    return found


def _recent_signals(wanted: SignalsWanted) -> list[messages.Signal]:
    either = [Q(user=None, symbol__in=wanted.symbols)] if wanted.symbols else []
    if wanted.user_id is not None:
        either.append(Q(user_id=wanted.user_id))
    rows = models.Signal.objects.filter(reduce(or_, either))[:RECENT] if either else ()
    return [present.signal(row) for row in rows]


# Sentiment and risk


def current_sentiments() -> list[messages.Sentiment]:
    """Every scope's latest."""
    return [present.sentiment(row) for row in models.Sentiment.objects.all()]


def active_alerts(user_id: str) -> list[messages.RiskAlert]:
    """Alerts that the user has not acknowledged, newest first."""
    rows = models.RiskAlert.objects.filter(user_id=user_id, acknowledged_at=None)
    return [present.risk_alert(row) for row in rows[:RECENT]]


@transaction.atomic
def acknowledge_alert(user_id: str, alert_id: str) -> messages.RiskAlert | None:
    """Mark one of the user's alerts as seen, and tell all of the user's devices. None: the user has no such alert."""
    try:
        row = models.RiskAlert.objects.filter(user_id=user_id, id=UUID(alert_id)).first()
    except ValueError:
        return None
    if row is None:
        return None
    if row.acknowledged_at is None:
        row.acknowledged_at = timezone.now()
        row.save(update_fields=["acknowledged_at"])
        notify_alert_acknowledged(user_id, present.risk_alert(row))
    return present.risk_alert(row)


# Options


def underlyings() -> list[str]:
    """What has options: the two indices, and whatever else has a chain."""
    chains = models.OptionChain.objects.order_by("underlying").values_list("underlying", flat=True).distinct()
    return sorted({"NIFTY", "BANKNIFTY", *chains})


def expiries(underlying: str) -> list[date]:
    """The expiries of an underlying that there are chains of."""
    return list(models.OptionChain.objects.filter(underlying=underlying).values_list("expiry", flat=True))


def option_chains(underlying: str, expiry: date | None = None) -> Sequence[messages.OptionChain]:
    """The latest chains, or an empty one while there is none."""
    rows = models.OptionChain.objects.filter(underlying=underlying)
    if expiry is not None:
        rows = rows.filter(expiry=expiry)
    chains = [msgspec.convert(row.data["chain"], messages.OptionChain) for row in rows]
    return chains or [messages.OptionChain(underlying=underlying, expiry=expiry, spot=0.0, forward=0.0, rows=())]


def save_chain(chain: messages.OptionChain, greeks: messages.GreeksData) -> None:
    """Keep what was sent, for the next snapshot, and what positions are valued with."""
    models.OptionChain.objects.update_or_create(
        underlying=chain.underlying,
        expiry=chain.expiry,
        defaults={"data": {"chain": msgspec.to_builtins(chain), "greeks": msgspec.to_builtins(greeks)}},
    )


def drop_chain(underlying: str, expiry: date) -> None:
    """Forget an expiry that is over."""
    models.OptionChain.objects.filter(underlying=underlying, expiry=expiry).delete()
