"""Plain views: health, metrics, and the AsyncAPI document."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST

from apps.streaming.asyncapi import document
from apps.streaming.health import health_report
from apps.streaming.metrics import exposition


async def health(request: HttpRequest) -> JsonResponse:
    """200 when ready, 503 when draining or broken."""
    report = await health_report()
    ready = report["status"] != "draining" and report["database"] == "ok"
    return JsonResponse(report, status=200 if ready else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format."""
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)


def asyncapi_document(request: HttpRequest) -> JsonResponse:
    """Every stream, message and command."""
    return JsonResponse(document(), json_dumps_params={"indent": 2})
