"""A short version of `make soak`."""

from __future__ import annotations

import pytest

from tests.cluster.soak import soak, verdict

SECONDS = 42


@pytest.mark.timeout(150)
async def test_memory_is_flat_on_topics_that_come_and_go(django_db_setup):
    samples = await soak(SECONDS, say=False)
    assert not verdict(samples)
    assert samples[-1].keys > 10_000  # it really was many topics
    assert max(sample.queued for sample in samples) < 1_000
