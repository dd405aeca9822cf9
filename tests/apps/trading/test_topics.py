"""Topics say what they are about, and nothing else is read out of them."""

import pytest

from apps.trading.topics import symbol_of, symbol_signals, underlying_of, underlying_options


@pytest.mark.parametrize("symbol", ["NIFTY", "M&M", "BAJAJ-AUTO", "A_B.C"])
def test_a_symbol_comes_back_from_its_topic(symbol):
    assert symbol_of(symbol_signals(symbol).name) == symbol
    assert underlying_of(underlying_options(symbol).name) == symbol


@pytest.mark.parametrize("name", ["trading.signals.symbol._00", "trading.signals.symbol.A_0A", "trading.pnl.7"])
def test_what_no_symbol_can_be_is_none(name):
    assert symbol_of(name) is None
