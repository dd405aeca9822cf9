"""The forms of `REDIS_URL`."""

import pytest

from realtime.brokers.redis.servers import (
    ClusterServers,
    PlainServers,
    SentinelServers,
    connect,
    public_name,
    split_urls,
)
from realtime.errors import InvalidBrokerUrl


@pytest.mark.parametrize(
    ("url", "kind", "database"),
    [
        ("redis://localhost:6379/1", PlainServers, 1),
        ("redis://user:p%40ss@localhost", PlainServers, 0),
        ("rediss://localhost/2", PlainServers, 2),
        ("unix:///run/redis.sock?db=3", PlainServers, 3),
        ("redis+sentinel://:secret@a:26379,b/service/4", SentinelServers, 4),
        ("redis+sentinel://a/service", SentinelServers, 0),
        ("redis+cluster://a:7000,b:7001", ClusterServers, 0),
        ("rediss+cluster://user:secret@[::1]:7000", ClusterServers, 0),
    ],
)
def test_what_leads_where(url, kind, database):
    servers = connect(url)
    assert type(servers) is kind
    assert servers.database == database


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://localhost", "'http' is not allowed; allowed are redis"),
        ("redis://localhost:port/0", "redis://…"),
        ("redis+sentinel://user:secret@a:26379", "service/database"),
        ("redis+sentinel://user:secret@a/service/x", "service/database"),
        ("redis+cluster://user:secret@a:x", "expected host:port"),
        ("redis+cluster://user:secret", "expected host:port"),
        ("redis://:secret/abc@host", "expected redis://user:password@host"),
        ("redis+cluster://", "expected host:port"),
        ("", "the scheme ''"),
    ],
)
def test_what_leads_nowhere_is_said_without_the_password(url, says):
    with pytest.raises(InvalidBrokerUrl) as error:
        connect(url)
    assert says in str(error.value)
    assert "secret" not in str(error.value)


def test_a_list_of_urls():
    text = "redis://a:1/0, redis+cluster://b:1,c:2,redis+sentinel://d:1,e:2/s/0"
    assert split_urls(text) == ["redis://a:1/0", "redis+cluster://b:1,c:2", "redis+sentinel://d:1,e:2/s/0"]
    assert split_urls("") == []


def test_a_name_that_may_be_shown():
    assert public_name("redis://user:secret@host:1/2") == "redis://host:1/2"
