from datetime import UTC, datetime

import pytest

from engines.market.quotes import Bar, QuoteTick

MOMENT = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize("value", [QuoteTick("X", MOMENT, 1.0, 1.0, 1.0), Bar("X", MOMENT, 1.0, 1.0, 1.0, 1.0)])
def test_quotes_and_bars_do_not_change(value):
    with pytest.raises(AttributeError):
        value.volume = 2.0


def test_what_a_feed_does_not_say_is_zero():
    quote = QuoteTick("X", MOMENT, 1.0, 1.0, 1.0)
    assert (quote.volume, quote.bid_size, quote.ask_size, quote.open_interest, quote.previous_close) == (0, 0, 0, 0, 0)
