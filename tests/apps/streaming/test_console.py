"""The stream console in a real, headless Chromium."""

from __future__ import annotations

import os
import shutil

import pytest
from django.test import Client

from apps.trading.websocket_utils import notify_new_signal
from tests.conftest import PASSWORD

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIGNAL = {"id": "s-1", "symbol": "NIFTY", "signal_type": "BUY", "confidence_score": 0.85, "entry_price": 18500.0}


@pytest.fixture
def page(server):
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and in CI the console must be tested")
        pytest.skip("Chromium is not installed: the console is not tested here")
    from playwright.sync_api import sync_playwright

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright keeps a loop in this thread; the database calls are ours
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1360, "height": 820})
        page.set_default_timeout(10_000)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        yield page
        browser.close()
        assert problems == []
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def sign_in(page, server, user):
    page.goto(server.http + "/")
    page.fill("[name=email]", user.email)
    page.fill("[name=password]", PASSWORD)
    page.click("text=Sign in")


def types(page):
    return page.locator("#messages .type").all_text_contents()


def wait_for_type(page, name):
    page.locator("#messages .type", has_text=name).first.wait_for()


@pytest.mark.browser
def test_a_person_signs_in_watches_drops_resumes_and_commands(page, server, user):
    sign_in(page, server, user)
    wait_for_type(page, "recent_signals")
    assert page.locator("#state").text_content() == "live"
    assert page.locator("[data-stream]").count() == 14

    notify_new_signal(user.pk, SIGNAL)
    wait_for_type(page, "new_signal")
    page.locator("#messages li", has_text="new_signal").click()
    assert '"confidence_score": 0.85' in page.locator("#detail").text_content()

    page.click("#drop")
    assert page.locator("#state").text_content() == "dropped"
    notify_new_signal(user.pk, {**SIGNAL, "id": "s-2", "symbol": "MISSED"})
    page.click("#resume")
    page.locator("#messages .body", has_text="MISSED").wait_for()
    assert types(page).count("recent_signals") == 1, "a resume sends no snapshot"
    page.locator("#position td", has_text="2").wait_for()

    page.click(".examples >> text=subscribe_symbol >> nth=0")
    page.click("#send")
    wait_for_type(page, "subscription_confirmed")
    page.fill("#command-text", "nonsense")
    page.click("#send")
    wait_for_type(page, "error")


@pytest.mark.browser
def test_every_stream_can_be_opened(page, server, user):
    from tests.apps.ai_studio.test_streams import studio

    studio(user)
    sign_in(page, server, user)
    for button in page.locator("[data-stream]").all():
        button.click()
        wait_for_type(page, "welcome")
        page.wait_for_function("document.getElementById('state').textContent === 'live'")
        page.wait_for_function("document.querySelectorAll('#messages li').length >= 2")


def test_what_a_stranger_and_a_wrong_password_see(client, user, settings):
    assert b"demo@sharewise.local" not in client.get("/").content
    settings.DEBUG = True
    page = client.get("/")
    assert b"demo@sharewise.local" in page.content
    assert b"data-stream" not in page.content
    wrong = client.post("/sign-in/", {"email": user.email, "password": "x"})
    assert wrong.status_code == 401
    assert b"No active account" in wrong.content
    assert client.get("/console/targets/ai-studio.training/").status_code == 403


def test_forms_are_protected_against_other_sites(user):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/sign-in/", {"email": user.email, "password": PASSWORD}).status_code == 403
    strict.force_login(user)
    assert strict.post("/api/realtime/ticket/").status_code == 403


def test_targets_are_the_users_own(client, user, other_user):
    from tests.apps.ai_studio.test_streams import studio

    ids = studio(user)
    for who, expected in ((user, [ids["ai-studio.training"]]), (other_user, [])):
        client.force_login(who)
        found = client.get("/console/targets/ai-studio.training/").json()["targets"]
        assert [target["id"] for target in found] == expected
    assert client.get("/console/targets/nope/").status_code == 404
