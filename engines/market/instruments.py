"""What can be quoted."""

from __future__ import annotations

from typing import Literal

import msgspec

InstrumentKind = Literal["index", "equity"]


class Instrument(msgspec.Struct, frozen=True):
    """A quoted thing. `sector` groups what moves together."""

    symbol: str
    name: str
    kind: InstrumentKind
    sector: str = ""


NSE_UNIVERSE: tuple[Instrument, ...] = (
    Instrument("NIFTY", "NIFTY 50", "index"),
    Instrument("BANKNIFTY", "NIFTY Bank", "index", "banks"),
    Instrument("RELIANCE", "Reliance Industries", "equity", "energy"),
    Instrument("HDFCBANK", "HDFC Bank", "equity", "banks"),
    Instrument("ICICIBANK", "ICICI Bank", "equity", "banks"),
    Instrument("SBIN", "State Bank of India", "equity", "banks"),
    Instrument("AXISBANK", "Axis Bank", "equity", "banks"),
    Instrument("INFY", "Infosys", "equity", "technology"),
    Instrument("TCS", "Tata Consultancy Services", "equity", "technology"),
    Instrument("ITC", "ITC", "equity", "consumer"),
    Instrument("HINDUNILVR", "Hindustan Unilever", "equity", "consumer"),
    Instrument("LT", "Larsen & Toubro", "equity", "industry"),
    Instrument("M&M", "Mahindra & Mahindra", "equity", "industry"),
    Instrument("BHARTIARTL", "Bharti Airtel", "equity", "telecom"),
)
