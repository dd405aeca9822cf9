"""`/api/trading/`: instruments and the watchlist."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema, Status

from apps.accounts.api import Problem, user_auth
from apps.trading import services
from apps.trading.models import Instrument

router = Router(auth=user_auth)


class InstrumentOut(Schema):
    symbol: str
    name: str
    kind: str
    source: str


class Watchlist(Schema):
    symbols: list[str]


@router.get("/instruments/", response=list[InstrumentOut])
def instruments(request: HttpRequest) -> Any:
    """Everything that can be followed."""
    return Instrument.objects.all()


@router.get("/watchlist/", response=Watchlist)
def watchlist(request: HttpRequest) -> Any:
    """The symbols whose signals you get from the start of a connection."""
    return {"symbols": services.watchlist(str(request.auth.pk))}  # type: ignore[attr-defined]


@router.put("/watchlist/", response={200: Watchlist, 422: Problem})
def set_watchlist(request: HttpRequest, body: Watchlist) -> Any:
    """Replace the watchlist."""
    try:
        return Status(200, {"symbols": services.set_watchlist(str(request.auth.pk), body.symbols)})  # type: ignore[attr-defined]
    except ValueError as error:
        return Status(422, {"error": str(error)})
