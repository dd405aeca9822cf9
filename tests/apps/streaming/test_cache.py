"""Django's cache over Redis, and over a process' own memory while Redis is away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from apps.streaming import cache as module
from apps.streaming.cache import SharedCache


@pytest.fixture
def make(monkeypatch):
    def make_cache(url, name="tickets"):
        monkeypatch.setattr(module.settings, "ENV", SimpleNamespace(redis_url=url, redis_prefix="test"))
        return SharedCache(name, {})

    return make_cache


def test_two_processes_share_a_cache_and_two_names_do_not(make, redis_server):
    one, two, other = make(redis_server.url), make(redis_server.url), make(redis_server.url, "logins")
    one.set("key", {"a": [1, None, "☂"]}, 60)
    assert two.get("key") == {"a": [1, None, "☂"]}
    assert other.get("key") is None
    assert two.delete("key")
    assert not one.delete("key")  # of several who got a ticket, one may use it
    assert one.get("key", "default") == "default"


def test_counting(make, redis_server):
    cache = make(redis_server.url)
    assert cache.add("attempts", 0, 60)
    assert not cache.add("attempts", 5, 60)
    assert [cache.incr("attempts"), cache.incr("attempts", 2)] == [1, 3]
    assert cache.get("attempts") == 3
    with pytest.raises(ValueError, match="never-set"):
        cache.incr("never-set")


def test_time(make, redis_server):
    cache = make(redis_server.url)
    cache.set("gone", 1, 0)
    cache.set("for-ever", True, None)
    cache.set("touched", 1.5, 60)
    assert cache.touch("touched", 600)
    assert not cache.touch("gone", 600)
    assert cache.get_many(["gone", "for-ever", "touched"]) == {"for-ever": True, "touched": 1.5}
    redis = redis_server.client()
    ttl = {key.rpartition(":")[2]: redis.ttl(key) for key in redis.scan_iter("test:cache:*")}
    assert ttl["for-ever"] == -1
    assert 60 < ttl["touched"] <= 600
    cache.clear()
    assert redis.dbsize() == 0


def test_without_redis_a_process_goes_on_with_its_own(make, own_redis):
    cache = make(own_redis.url)
    cache.set("key", 1, 60)
    assert cache.get("key") == 1
    assert cache.incr("key") == 2
    own_redis.start()
    cache._redis._away_until = 0.0  # a second has passed
    cache.set("key", 7, 60)
    assert make(own_redis.url).get("key") == 7
