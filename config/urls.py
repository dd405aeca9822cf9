"""URLs: the console, the admin, and the REST API."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView
from ninja import NinjaAPI

from apps.accounts.api import router as accounts_router
from apps.ai_studio.api import router as ai_studio_router
from apps.streaming import console, views
from apps.streaming.api import router as realtime_router
from apps.streaming.problems import answer_refusals
from apps.trading.api import router as trading_router

api = NinjaAPI(title="ShareWise", version="1", urls_namespace="api")
answer_refusals(api)
api.add_router("/token", accounts_router, tags=["token"])
api.add_router("/realtime", realtime_router, tags=["realtime"])
api.add_router("/trading", trading_router, tags=["trading"])
api.add_router("/ai", ai_studio_router, tags=["ai studio"])

urlpatterns = [
    path("", console.page, name="console"),
    path("sign-in/", console.sign_in, name="sign-in"),
    path("sign-out/", console.sign_out, name="sign-out"),
    path("console/targets/<str:stream_name>/", console.targets, name="console-targets"),
    path("asyncapi.json", views.asyncapi_document, name="asyncapi"),
    path("health/", views.health, name="health"),
    path("metrics/", views.metrics, name="metrics"),
    path("admin/login/", RedirectView.as_view(pattern_name="console"), name="admin-login"),  # one login, throttled
    path("admin/", admin.site.urls),
    path("api/", api.urls),
]
