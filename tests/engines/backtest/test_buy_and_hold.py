"""Buy and hold against the closed formula, to the paisa; and what every account of a backtest promises."""

from decimal import ROUND_CEILING, ROUND_HALF_UP

import pytest

from engines.backtest.market import historical_market
from engines.backtest.simulation import Simulation
from engines.backtest.spec import BacktestSpec
from engines.backtest.traders import trader_of
from tests.engines.backtest.markets import (
    NO_SLIPPAGE,
    D,
    bars,
    chances,
    day,
    direction,
    filled_up,
    pass_all_days,
    run,
    walks,
)

PAISA, GRID = D("0.01"), D("0.0001")
STRATEGIES = ("model", "trend", "breakout", "mean_reversion", "volatility", "buy_and_hold")


def charges_of_purchase(value):
    """Delivery, no brokerage: the rates of engines/trading/charges.py, written out."""

    def percent(amount, rate):
        return (amount * D(rate) / 100).quantize(PAISA, ROUND_HALF_UP)

    stt, exchange, sebi = percent(value, "0.1"), percent(value, "0.00307"), percent(value, "0.0001")
    return stt + exchange + sebi + percent(value, "0.015") + percent(exchange + sebi, "18")


def closed_formula(cash, shares, slippage):
    """(quantities, charges, cash left) of buying one after the other for cash / shares each. `shares`: openings."""
    left, quantities, charges = cash, [], D(0)
    for opening in shares:
        price = (opening * (1 + slippage) / GRID).to_integral_value(ROUND_CEILING) * GRID
        reserved = price * D("1.01")  # the broker's reserve for a market order
        budget, quantity = min(cash / len(shares), left), 0
        while (quantity + 1) * reserved + charges_of_purchase((quantity + 1) * reserved) <= budget:
            quantity += 1
        quantities.append(quantity)
        paid = charges_of_purchase(quantity * price)
        charges += paid
        left -= quantity * price + paid
    return quantities, charges, left


@pytest.mark.parametrize("slippage", [0.0, 5.0, 37.5])
def test_it_equals_the_closed_formula_to_the_paisa(slippage):
    openings, closes = [D("412.35"), D("97.1234")], [D("500.05"), D("61.20")]
    history = [
        *filled_up((412.35, 420, 400, 410), 500.05, symbol="A"),
        *filled_up((97.1234, 99, 90, 95), 61.2, symbol="B", first=7),
    ]
    result = run(history, strategy="buy_and_hold", slippage_basis_points=slippage, opening_cash=D(250_000))
    quantities, charges, left = closed_formula(D(250_000), openings, D(str(slippage)) / 10_000)
    assert result.charges == charges
    assert result.final_equity == left + sum(q * close for q, close in zip(quantities, closes, strict=True))
    assert result.equity_curve == result.benchmark_curve
    assert (result.trades, result.win_rate, result.trade_list) == (0, None, ())


def test_the_example_of_the_documentation():
    """9,884 shares at 100.05 rupees, 1,174.21 of charges."""
    result = run(filled_up(100.0, 110.0), strategy="buy_and_hold")
    assert closed_formula(D(1_000_000), [D(100)], D("0.0005")) == ([9_884], D("1174.21"), D("9931.59"))
    assert (result.charges, result.final_equity) == (D("1174.21"), D("1097171.59"))
    assert result.total_return == pytest.approx(0.09717159)


def test_it_holds_what_has_no_bars_for_a_while_at_its_last_price():
    history = [*filled_up(100.0, length=70, symbol="A"), *bars(50.0, 80.0, symbol="B")]
    result = run(history, strategy="buy_and_hold", **NO_SLIPPAGE)
    assert result.equity_curve[1] == result.equity_curve[-1] > 1_250_000
    assert result.days[-1] == day(69)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_books_are_exact_and_cash_never_negative(strategy):
    """final - opening = realised + unrealised - charges, and the trades are the realised part of it."""
    history = walks(3)
    spec = BacktestSpec(strategy=strategy, position_share=0.7, slippage_basis_points=20.0, brokerage_plan="DISCOUNT")
    chance = chances(history)
    market = historical_market(history, spec)
    simulation = Simulation(market, spec, trader_of(spec, market, chance, direction(3)))
    account = simulation.account
    book, fill, cash = account.book, account.book.fill, []

    def recorded(trade):
        outcome = fill(trade)
        cash.append(book.cash)
        return outcome

    book.fill = recorded
    pass_all_days(simulation, market)
    totals = book.totals()
    assert cash
    assert min(cash) >= 0
    assert book.imbalance == 0
    assert totals.total_value - spec.opening_cash == totals.realised_pnl + totals.unrealised_pnl - totals.charges
    still_open = sum(holding.charges for holding in account._holdings.values())
    assert sum(trade.pnl for trade in account.trades) == totals.realised_pnl - totals.charges + still_open
    assert simulation.equity[-1] == float(totals.total_value)
    for trade in account.trades:
        gross = trade.quantity * (trade.exit_price - trade.entry_price)
        assert abs(trade.pnl - (gross - trade.charges)) <= D("0.0001")
        assert trade.opened_on <= trade.closed_on
