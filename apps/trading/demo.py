"""What the demo user has in trading."""

from __future__ import annotations

from collections.abc import Sequence

from apps.accounts.models import User
from apps.trading import controls, models, orders, services
from engines.market.feeds.base import Feed
from engines.market.instruments import Instrument

# As large as the positions that the account takes, so that the demo's risk alerts are seen to work.
DEMO_CONCENTRATION_LIMIT = 0.12
STRADDLE_ON = "NIFTY"


def seed(user: User, feed: Feed) -> None:
    """A watchlist of the feed's instruments, and an account that trades their signals and buys a straddle. An account
    that there is goes on where it was."""
    services.register_instruments(feed.instruments, services.source_of(feed))
    watched = [instrument.symbol for instrument in feed.instruments if instrument.kind in ("index", "equity")]
    for symbol in watched:
        models.WatchlistItem.objects.get_or_create(user=user, instrument_id=symbol)
    _, is_new = models.Account.objects.get_or_create(user=user, defaults={"auto_trade": True})
    if is_new:
        controls.set_limits(str(user.pk), {"concentration": DEMO_CONCENTRATION_LIMIT})
    for option in _at_the_money([i for i in feed.instruments if i.underlying == STRADDLE_ON and i.kind == "option"]):
        orders.place(
            str(user.pk),
            orders.NewOrder(
                symbol=option.symbol, side="BUY", quantity=option.lot_size, client_order_id=f"demo:{option.symbol}"
            ),
        )


def _at_the_money(options: Sequence[Instrument]) -> list[Instrument]:
    """The nearest expiry's call and put at the middle of its strikes; none where there are no options."""
    expiry = min((option.expiry for option in options if option.expiry is not None), default=None)
    strikes = sorted({option.strike for option in options if option.expiry == expiry and option.strike is not None})
    return [o for o in options if strikes and (o.expiry, o.strike) == (expiry, strikes[len(strikes) // 2])]
