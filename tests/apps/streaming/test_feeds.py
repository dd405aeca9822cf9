"""Which feed the options of `serve` and `run_engines` choose."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from django.conf import settings
from django.core.management import CommandError

from apps.streaming import feeds
from engines.market.feeds.kite import MAX_INSTRUMENTS
from engines.market.instruments import DUMP_COLUMNS

NO_OPTIONS = {"feed": None, "data": None, "instruments": None, "speed": None}
INDEX = "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE"
INFY = "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE"
EXPIRED = "11111,43,NIFTY24JAN25000CE,NIFTY,0,2024-01-25,25000,0.05,50,CE,NFO-OPT,NFO"


@pytest.fixture
def signed_in(monkeypatch):
    known = msgspec.structs.replace(settings.ENV, kite_api_key="the-key", kite_access_token="the-token")
    monkeypatch.setattr(settings, "ENV", known)


def dump(tmp_path, *rows):
    path = tmp_path / "instruments.csv"
    path.write_text("\n".join([",".join(DUMP_COLUMNS), *rows]) + "\n")
    return path


def made(options):
    said, warned = [], []
    options = NO_OPTIONS | options
    feeds.check_options(options)
    make, description = feeds.feed_maker(options, said.append, warned.append)
    return make, description, said, warned


def test_a_live_feed_of_a_dump(tmp_path, signed_in):
    path = dump(tmp_path, INDEX, INFY, EXPIRED)
    make, description, said, warned = made({"feed": "kite", "instruments": path})
    assert [instrument.symbol for instrument in make().instruments] == ["NIFTY", "INFY"]
    assert make() is not make()
    assert "live" in description
    assert said == [f"Read 2 instruments from {path}"]
    assert "expired" in warned[0]


def test_credentials_that_are_missing_are_named(tmp_path, monkeypatch):
    path = dump(tmp_path, INFY)
    for known, missing in (
        ({}, "KITE_API_KEY and KITE_ACCESS_TOKEN"),
        ({"kite_api_key": "the-key"}, "KITE_ACCESS_TOKEN in"),
    ):
        monkeypatch.setattr(settings, "ENV", msgspec.structs.replace(settings.ENV, **known))
        with pytest.raises(CommandError, match=f"needs {missing}") as raised:
            made({"feed": "kite", "instruments": path})
        assert "the-key" not in str(raised.value)


def test_a_dump_that_is_too_long_or_of_no_use(tmp_path, signed_in):
    rows = [f"{n},{n},S{n},S{n},0,,0,0.05,1,EQ,NSE,NSE" for n in range(1, MAX_INSTRUMENTS + 2)]
    with pytest.raises(CommandError, match="3,001 instruments, one connection carries"):
        made({"feed": "kite", "instruments": dump(tmp_path, *rows)})
    with pytest.raises(CommandError, match="no row can be used"):
        made({"feed": "kite", "instruments": dump(tmp_path, EXPIRED)})
    with pytest.raises(CommandError, match="none"):
        made({"feed": "kite", "instruments": tmp_path / "none.csv"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"feed": "kite"}, "needs --instruments"),
        ({"feed": "kite", "instruments": Path("x"), "speed": 2.0}, "--speed does not go with"),
        ({"feed": "kite", "instruments": Path("x"), "data": Path("x")}, "--data goes with"),
        ({"instruments": Path("x")}, "--instruments goes with"),
        ({"feed": "replay", "instruments": Path("x")}, "--instruments goes with"),
        ({"feed": "simulated", "data": Path("x")}, "--data goes with"),
        ({"speed": 0.0}, "above 0"),
    ],
)
def test_options_that_do_not_go_together(options, says):
    with pytest.raises(CommandError, match=says):
        feeds.check_options(NO_OPTIONS | options)


def test_the_others_are_as_before():
    assert made({})[1] == "simulated NSE-like market"
    make, description, said, _ = made({"data": feeds.shipped_bars_path()})
    assert "replay" in description
    assert said[0].startswith("Read ")
    assert make().instruments
