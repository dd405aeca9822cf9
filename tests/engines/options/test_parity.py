"""The synthetic forward, from clean quotes, few quotes and bad ones."""

import math

import numpy as np
import pytest

from engines.options.parity import synthetic_forward
from engines.options.quotes import SideQuotes
from tests.engines.options.samples import FORWARD, RATE, STRIKES, YEARS, chain_of, side_quotes

DISCOUNT = math.exp(-RATE * YEARS)


def without(side: SideQuotes, missing):
    return side_quotes(np.where(missing, np.nan, side.bid), np.where(missing, np.nan, side.ask))


def test_it_is_the_forward_that_the_options_were_priced_with():
    chain = chain_of(0.13 - 0.4 * np.log(STRIKES / FORWARD), half_spread=1.0)
    assert synthetic_forward(STRIKES, chain.calls, chain.puts, DISCOUNT) == pytest.approx(FORWARD, rel=1e-12)


def test_one_pair_is_enough_and_none_is_none():
    chain = chain_of(0.14)
    only = np.arange(len(STRIKES)) != 30
    assert synthetic_forward(STRIKES, without(chain.calls, only), chain.puts, DISCOUNT) == pytest.approx(FORWARD)
    nothing = np.full(len(STRIKES), fill_value=True)
    assert synthetic_forward(STRIKES, without(chain.calls, nothing), chain.puts, DISCOUNT) is None


def test_ticks_and_a_few_wild_quotes_hardly_move_it():
    chain = chain_of(0.14, half_spread=0.5)
    rng = np.random.default_rng(4)
    bid, ask = (
        np.round((side + rng.normal(0, 0.3, side.shape)) / 0.05) * 0.05 for side in (chain.calls.bid, chain.calls.ask)
    )
    ask = np.maximum(bid + 0.05, ask)
    bid[[18, 21, 23]] *= 3
    ask[[18, 21, 23]] *= 3
    found = synthetic_forward(STRIKES, side_quotes(bid, ask), chain.puts, DISCOUNT)
    assert found == pytest.approx(FORWARD, abs=1.0)
