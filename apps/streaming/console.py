"""The stream console at `/`: sign in, choose a stream, watch it."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST
from msgspec import NODEFAULT
from msgspec.structs import fields

from apps.accounts.signin import SignInRefused
from apps.accounts.signin import sign_in as check_credentials
from apps.streaming.demo import DEMO_EMAIL, DEMO_PASSWORD
from apps.streaming.registry import streams
from apps.streaming.runtime import runtime
from apps.streaming.stream import Stream
from realtime.close import CLOSE_CODES
from realtime.messages import Command, Ping, type_of

_EXAMPLES = {"symbol": "NIFTY", "alert_id": "<id of an alert>"}


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """The console, or the sign-in form."""
    if not request.user.is_authenticated:
        return _sign_in_form(request)
    context = {
        "streams": [_describe(stream) for stream in streams()],
        "market": market.feed.description if (market := runtime().market) else "no engines here",
        "close_codes": {close.code: f"{close.meaning}; {close.reconnect.value}" for close in CLOSE_CODES},
    }
    return render(request, "console/console.html", context)


@require_POST
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in with e-mail and password, then back to the console."""
    try:
        user = check_credentials(request, request.POST.get("email", ""), request.POST.get("password", ""))
    except SignInRefused as refused:
        return _sign_in_form(request, str(refused), status=429 if refused.wait_seconds else 401)
    login(request, user)
    return redirect("console")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Sign out, then back to the form."""
    logout(request)
    return redirect("console")


async def targets(request: HttpRequest, stream_name: str) -> JsonResponse:
    """The objects that the signed-in user can open a stream on."""
    user = await request.auser()
    stream = next((stream for stream in streams() if stream.name == stream_name), None)
    if not user.is_authenticated:
        return JsonResponse({"error": "sign in first"}, status=403)
    if stream is None:
        return JsonResponse({"error": f"there is no stream {stream_name!r}"}, status=404)
    found = await stream.targets(str(user.pk))
    return JsonResponse({"targets": [{"id": target.id, "label": target.label} for target in found]})


def _sign_in_form(request: HttpRequest, error: str = "", status: int = 200) -> HttpResponse:
    demo = {"email": DEMO_EMAIL, "password": DEMO_PASSWORD} if settings.DEBUG else {}
    return render(request, "console/sign_in.html", {"error": error, "demo": demo}, status=status)


def _describe(stream: type[Stream]) -> dict[str, object]:
    group, _, name = stream.name.partition(".")
    return {
        "name": stream.name,
        "group": {"trading": "Trading", "ai-studio": "AI Studio"}.get(group, group),
        "title": name.replace("-", " ").capitalize().replace("Fno", "F&O").replace("Pnl", "P&L"),
        "path": "/ws/" + stream.path,
        "summary": stream.summary,
        "needs_target": "<" in stream.path,
        "commands": [_example(command) for command in (Ping, *stream.commands)],
    }


def _example(command: type[Command]) -> dict[str, object]:
    """The command with its required fields filled in, to start from."""
    required = {
        field.name: _EXAMPLES.get(field.name, "")
        for field in fields(command)
        if field.default is NODEFAULT and field.default_factory is NODEFAULT
    }
    return {"type": type_of(command), **required}
