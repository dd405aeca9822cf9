"""What tests of the system stream share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from apps.ai_studio import topics
from apps.ai_studio.public_view import public_workers
from apps.streaming.runtime import runtime


@pytest.fixture
def nothing_published():
    """Nothing is left of what a test says about the system."""
    yield
    for topic in (topics.system(), topics.system_detail()):
        for key in ("system_status_update", "worker_status_update"):
            runtime().broker.forget_soon(topic, key)


@pytest.fixture
def market(monkeypatch, nothing_published):
    """Engines run here, on a feed that does what the test says."""
    feed = SimpleNamespace(description="test market")
    made = SimpleNamespace(feed=feed, ended=False, is_stale=False, quote_age_seconds=1.2345, rejected={"crossed": 3})
    monkeypatch.setattr(runtime(), "market", made)
    return made


@pytest.fixture
def known_workers(monkeypatch, nothing_published):
    """What the database says, which is not asked."""
    found = []
    monkeypatch.setattr(
        "apps.ai_studio.system_report.workers", lambda *, detail: list(found) if detail else public_workers(found)
    )
    monkeypatch.setattr("apps.streaming.health._database_status", lambda: "ok")
    return found
