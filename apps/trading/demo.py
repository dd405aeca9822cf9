"""What the demo user has in trading."""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import User
from apps.trading import bookkeeping, models, services
from engines.market.feeds.base import Feed
from engines.trading.book import money

# As large as the positions that the account takes, so that the demo's risk alerts are seen to work.
DEMO_CONCENTRATION_LIMIT = 0.10
OPENING_SHARES = 3
OPENING_SHARE_OF_CASH = 5  # each opening position is a fifth of the cash


def seed(user: User, feed: Feed) -> None:
    """A watchlist of the feed's instruments, and an account that trades its signals and holds a few shares."""
    source = models.Instrument.Source.SIMULATED if feed.simulated else models.Instrument.Source.REPLAY
    services.register_instruments(feed.instruments, source)
    for instrument in feed.instruments:
        models.WatchlistItem.objects.get_or_create(user=user, instrument_id=instrument.symbol)
    account, _ = models.Account.objects.get_or_create(
        user=user, defaults={"auto_trade": True, "concentration_limit": DEMO_CONCENTRATION_LIMIT}
    )
    # The market of a new run has nothing to do with the last one's: the demo account starts anew with it.
    account.positions.all().delete()
    account.cash, account.day, account.day_start_value = account.opening_cash, None, account.opening_cash
    account.save()
    symbols = [instrument.symbol for instrument in feed.instruments if instrument.kind == "equity"]
    last = {bar.symbol: bar.close for bar in feed.warmup()}
    book = services.load_book(account)
    with transaction.atomic():
        for symbol in [symbol for symbol in symbols if symbol in last][:OPENING_SHARES]:
            price = money(last[symbol])
            quantity = int(account.opening_cash / OPENING_SHARE_OF_CASH / price)
            if quantity:
                bookkeeping.execute(account, book, symbol, quantity, price)
