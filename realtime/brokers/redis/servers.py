"""A URL -> the Redis behind it: one server, a master behind Sentinels, or a Cluster.

redis://user:password@host:6379/0      rediss://… with TLS, unix:///path/to/socket
redis+sentinel://host1:26379,host2:26379/service/0
redis+cluster://host1:6379,host2:6379
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from hiredis import pack_command
from redis import Redis, RedisCluster
from redis.asyncio import BlockingConnectionPool as AsyncPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from realtime.errors import InvalidBrokerUrl

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 3.0
POOL_CONNECTIONS = 8
PIECE_BYTES = 65_536  # each is to be sent within ANSWER_SECONDS
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
PLAIN_SCHEMES = ("redis", "rediss", "unix")
Command = tuple[str | bytes | int, ...]
_NEXT_URL = re.compile(r",\s*(?=[a-z+]+://)")


def split_urls(text: str) -> list[str]:
    """The URLs of a comma-separated list; the commas between the hosts of one URL are no separators."""
    return [url.strip() for url in _NEXT_URL.split(text) if url.strip()]


def public_name(url: str) -> str:
    """A URL without its credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Servers(abc.ABC):
    """How to reach one Redis system. A topic lives on one of its endpoints."""

    publish_command = "PUBLISH"
    subscribe_command = "SUBSCRIBE"
    unsubscribe_command = "UNSUBSCRIBE"
    is_plain = True  # whether pipelines and subscriptions may mix keys of any kind
    database = 0

    @abc.abstractmethod
    def sync_client(self) -> Any:
        """A client with a pool of its own, for one thread or several; every command fails within seconds."""

    @abc.abstractmethod
    def async_client(self) -> Any:
        """The same for the running event loop. Its pool is bounded and waits."""

    def execute(self, client: Any, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands that are sent in one go, with a client of `sync_client`; an error that Redis answers
        with stands in its answer's place. Raises when a connection breaks: then nobody knows how far it got."""
        # redis-py's pipeline packs each command three times slower, and sends every ten of them by themselves, each
        # time giving Python's lock away.
        connection = client.connection_pool.get_connection()
        try:
            packed = b"".join([pack_command(cast("Any", command)) for command in commands])
            pieces = [packed[start : start + PIECE_BYTES] for start in range(0, len(packed), PIECE_BYTES)]
            connection.send_packed_command(pieces, check_health=False)
            return [_answer(connection) for _ in commands]
        finally:
            client.connection_pool.release(connection)

    async def endpoints_of(
        self,
        client: Any,  # noqa: ARG002 - one of `async_client`, for those who have to ask
        channels: Iterable[str],
        *,
        refresh: bool,  # noqa: ARG002 - as above: what was known may be wrong
    ) -> dict[str, str]:
        """Which endpoint carries the pub/sub of each channel."""
        return dict.fromkeys(channels, "")

    async def subscriber_counts(
        self,
        client: Any,
        endpoint: str,  # noqa: ARG002 - of `endpoints_of`, where there are several
        channels: Sequence[str],
    ) -> list[Any]:
        """The channels, which an endpoint carries, each followed by how many subscribers it has there."""
        return list(await client.execute_command("PUBSUB", "NUMSUB", *channels))

    @abc.abstractmethod
    def connection(self, client: Any, endpoint: str) -> AsyncConnection:
        """A connection to an endpoint that is not yet open and belongs to no pool."""


class PlainServers(Servers):
    """One Redis."""

    def __init__(self, url: str) -> None:
        self._url = url
        probe = Redis.from_url(url)
        self.database = int(probe.connection_pool.connection_kwargs.get("db", 0) or 0)

    def sync_client(self) -> Any:
        return Redis.from_url(self._url, retry=Retry(NoBackoff(), 0), **_options())

    def async_client(self) -> Any:
        pool = AsyncPool.from_url(
            self._url,
            retry=AsyncRetry(NoBackoff(), 0),
            max_connections=POOL_CONNECTIONS,
            timeout=ANSWER_SECONDS,
            **_options(),
        )
        return AsyncRedis.from_pool(pool)

    def connection(self, client: Any, endpoint: str) -> AsyncConnection:  # noqa: ARG002
        return client.connection_pool.make_connection()


class SentinelServers(Servers):
    """Whoever the Sentinels say is the master of a service."""

    def __init__(self, hosts: list[tuple[str, int]], service: str, database: int, options: dict[str, Any]) -> None:
        self._hosts = hosts
        self._service = service
        self._options = options
        self.database = database

    def sync_client(self) -> Any:
        sentinel = Sentinel(self._hosts, sentinel_kwargs=_options(), retry=Retry(NoBackoff(), 0), **self._kwargs())
        return sentinel.master_for(self._service)

    def async_client(self) -> Any:
        retry = AsyncRetry(NoBackoff(), 0)
        sentinel = AsyncSentinel(self._hosts, sentinel_kwargs=_options(), retry=retry, **self._kwargs())
        return sentinel.master_for(self._service)

    def connection(self, client: Any, endpoint: str) -> AsyncConnection:  # noqa: ARG002
        return client.connection_pool.make_connection()

    def _kwargs(self) -> dict[str, Any]:
        return {**_options(), **self._options, "db": self.database}


class ClusterServers(Servers):
    """A Redis Cluster, with sharded pub/sub."""

    publish_command = "SPUBLISH"
    subscribe_command = "SSUBSCRIBE"
    unsubscribe_command = "SUNSUBSCRIBE"
    is_plain = False

    def __init__(self, hosts: list[tuple[str, int]], options: dict[str, Any]) -> None:
        self._hosts = hosts
        self._options = options

    def sync_client(self) -> Any:
        nodes = [ClusterNode(host, port) for host, port in self._hosts]
        return RedisCluster(startup_nodes=nodes, **_options(), **self._options)

    def async_client(self) -> Any:
        nodes = [AsyncClusterNode(host, port) for host, port in self._hosts]
        return AsyncRedisCluster(startup_nodes=nodes, max_connections=POOL_CONNECTIONS, **_options(), **self._options)

    def execute(self, client: Any, commands: Sequence[Command]) -> list[Any]:
        pipeline = client.pipeline()
        for command in commands:
            pipeline.execute_command(*command)  # `evalsha` itself is not offered in a Cluster's pipeline
        return list(pipeline.execute(raise_on_error=False))

    async def endpoints_of(self, client: Any, channels: Iterable[str], *, refresh: bool) -> dict[str, str]:
        await (client.nodes_manager.initialize() if refresh else client.initialize())
        return {channel: client.get_node_from_key(channel).name for channel in channels}

    async def subscriber_counts(self, client: Any, endpoint: str, channels: Sequence[str]) -> list[Any]:
        node = client.get_node(node_name=endpoint)
        if node is None:
            raise RedisClusterException(f"the node {endpoint} has left the cluster")
        return list(await node.execute_command("PUBSUB", "SHARDNUMSUB", *channels))

    def connection(self, client: Any, endpoint: str) -> AsyncConnection:
        node = client.get_node(node_name=endpoint)
        return node.connection_class(**node.connection_kwargs)


def connect(url: str) -> Servers:
    """The servers of one URL. Raises `InvalidBrokerUrl`, which says what is allowed and never shows a password."""
    parts = urlsplit(url)
    if parts.scheme in PLAIN_SCHEMES:
        try:
            return PlainServers(url)
        except ValueError:  # its text may hold a part of the password
            expected = f"expected {parts.scheme}://user:password@host:6379/0 (special characters as %2F)"
            raise InvalidBrokerUrl(f"{parts.scheme}://…: {expected}") from None
    if parts.scheme not in (*SENTINEL_SCHEMES, *CLUSTER_SCHEMES):
        allowed = ", ".join((*PLAIN_SCHEMES, *SENTINEL_SCHEMES, *CLUSTER_SCHEMES))
        raise InvalidBrokerUrl(f"the scheme {parts.scheme!r} is not allowed; allowed are {allowed}")
    credentials, _, hosts_text = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if username:
        options["username"] = unquote(username)
    if password:
        options["password"] = unquote(password)
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    sentinels = parts.scheme in SENTINEL_SCHEMES
    hosts = [_host(host, 26379 if sentinels else 6379, parts.scheme) for host in hosts_text.split(",")]
    if not sentinels:
        return ClusterServers(hosts, options)
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdigit():
        raise InvalidBrokerUrl(f"expected {parts.scheme}://host:26379,…/service/database")
    return SentinelServers(hosts, service, int(database or 0), options)


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response(disconnect_on_error=True)  # not what a Sentinel's connection does by itself
    except ResponseError as error:
        return error


def _host(text: str, default_port: int, scheme: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    if not host:
        host, port = port, str(default_port)
    if not host or not port.isdigit():
        raise InvalidBrokerUrl(f"{scheme}://…: expected host:port,host:port after the last @")
    return host.strip("[]"), int(port)


def _options() -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "socket_keepalive": True,
        "protocol": 2,
    }
