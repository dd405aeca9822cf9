"""The checker over real processes and sockets: what was published is what was received, whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading

import pytest

from tests.cluster.conftest import SERVICE_KEY
from tests.cluster.signals import signal_of
from tests.cluster.swarm import Swarm, problems, published_of
from tests.conftest import wait_until

SECONDS = 60


async def everything_arrives(swarm, published, seconds=30):
    def is_complete(client):
        return len({signal_id for signal_id, _ in client.got}) >= sum(published[client.symbol].values())

    with contextlib.suppress(AssertionError):  # `problems` says what did not arrive
        await swarm.until(lambda: all(map(is_complete, swarm.clients)), "not everything arrived", seconds)
    await asyncio.sleep(0.5)  # time for a duplicate to come
    return [problem for client in swarm.clients for problem in problems(client, published[client.symbol])]


@pytest.mark.timeout(240)
async def test_killed_servers_and_cut_connections_lose_repeat_and_reorder_nothing(system):
    """3 servers, 300 clients, 20 topics, 4 publisher processes, 60 s: a server killed every 5 s, Redis' connections cut
    every 3 s."""
    tokens = system.seed(20)
    nodes = [system.serve() for _ in range(3)]
    swarm = Swarm([node.port for node in nodes], tokens, 15)
    await swarm.start()
    for n in range(4):
        system.publish(f"p{n}", list(tokens), 25, SECONDS)
    stop = threading.Event()

    def kill_servers():
        while not stop.wait(5):
            node = random.choice(nodes)
            node.kill()
            node.launch()

    def cut_connections():
        while not stop.wait(3):
            system.redis.cut_connections()

    disturbers = [threading.Thread(target=kill_servers), threading.Thread(target=cut_connections)]
    for disturber in disturbers:
        disturber.start()
    results = await asyncio.to_thread(system.results)
    stop.set()
    for disturber in disturbers:
        await asyncio.to_thread(disturber.join)
    published = published_of(results)
    found = await everything_arrives(swarm, published)
    await swarm.stop()
    assert sum(sum(counts.values()) for counts in published.values()) > 4 * 20 * SECONDS
    assert sum(client.closes[1006] for client in swarm.clients) > 100  # they were really cut off
    assert not found, found[:10]
    assert not any(client.errors for client in swarm.clients)
    for client in swarm.clients:
        offsets = [offset for _, offset in client.got]
        assert offsets == list(range(1, len(offsets) + 1)), client.symbol


def publish_over(node, name, symbol, number):
    """Publish through a server's own process."""
    item = {"notify": "broadcast_signal", "arguments": {"signal": signal_of(name, symbol, number)}}
    answer = node.post("/api/realtime/publish/", {"items": [item]}, SERVICE_KEY)
    assert answer["published"] == 1


@pytest.mark.timeout(180)
async def test_a_redis_that_is_away_for_ten_seconds_and_keeps_its_data_costs_nothing(system):
    tokens = system.seed(4)
    nodes = [system.serve() for _ in range(2)]
    swarm = Swarm([node.port for node in nodes], tokens, 10)
    await swarm.start()
    for n in range(2):
        system.publish(f"p{n}", list(tokens), 20, 16)
    symbols = list(tokens)
    through_nodes = 0

    async def publish_through_nodes():
        nonlocal through_nodes
        for symbol in symbols:
            for name, node in zip(("n0", "n1"), nodes, strict=True):
                await asyncio.to_thread(publish_over, node, name, symbol, through_nodes)
        through_nodes += 1

    await publish_through_nodes()
    await asyncio.sleep(1)
    await asyncio.to_thread(system.redis.stop)
    for _ in range(10):
        await publish_through_nodes()
        await asyncio.sleep(1)
    degraded = await asyncio.to_thread(nodes[0].health)
    alone = {signal_id for client in swarm.clients for signal_id, _ in client.got if signal_id.startswith("n")}
    await asyncio.to_thread(system.redis.start)
    await publish_through_nodes()
    published = published_of(await asyncio.to_thread(system.results))
    for symbol in symbols:
        published[symbol] |= {"n0": through_nodes, "n1": through_nodes}
    found = await everything_arrives(swarm, published)
    await swarm.stop()
    assert degraded["status"] == "degraded"
    assert degraded["degraded_since"].endswith("Z")
    assert len(alone) > 15  # the nodes served their own clients meanwhile
    assert not found, found[:10]
    assert not any(client.closes for client in swarm.clients)
    health = await asyncio.to_thread(nodes[0].health)
    assert health["status"] == "ok"


@pytest.mark.timeout(180)
async def test_a_redis_that_comes_back_empty_makes_every_client_start_anew(system):
    tokens = system.seed(4)
    nodes = [system.serve() for _ in range(2)]
    swarm = Swarm([node.port for node in nodes], tokens, 10)
    await swarm.start()
    system.publish("p0", list(tokens), 40, 16)
    await asyncio.sleep(2)
    await asyncio.to_thread(lambda: system.redis.stop(lose_data=True))
    await asyncio.sleep(10)
    before = {client: len(client.got) for client in swarm.clients}
    await asyncio.to_thread(system.redis.start)
    published = published_of(await asyncio.to_thread(system.results))
    await swarm.until(lambda: all(client.closes[4010] for client in swarm.clients), "not everybody was told", 30)
    last = {symbol: f"p0:{counts['p0'] - 1}" for symbol, counts in published.items()}
    await swarm.until(
        lambda: all(client.got and client.got[-1][0] == last[client.symbol] for client in swarm.clients),
        "the last publications did not arrive",
        30,
    )
    await swarm.stop()
    for client in swarm.clients:
        # Who comes back to a node that has not yet noticed the loss is told again.
        assert set(client.closes) == {4010}
        assert client.closes[4010] <= 3
        standing = [{s["topic"]: s for s in welcome["subscriptions"]}[client.topic] for welcome in client.welcomes]
        anew = next(s for s in standing if s["epoch"] != standing[0]["epoch"])
        assert anew["recovered"] is False
        assert [signal["rationale"] for signal in client.snapshots[-1]["signals"]] == ["seed"]
        after = [offset for _, offset in client.got[before[client] :]]
        assert after == list(range(anew["offset"] + 1, anew["offset"] + 1 + len(after)))


@pytest.mark.timeout(180)
async def test_a_paused_redis_keeps_no_publisher_waiting_and_gets_everything_later(system):
    tokens = system.seed(4)
    node = system.serve()
    swarm = Swarm([node.port], tokens, 5)
    await swarm.start()
    for n in range(2):
        system.publish(f"p{n}", list(tokens), 100, 24)
    await asyncio.sleep(2)
    memory = node.memory_bytes()
    await asyncio.to_thread(system.redis.pause)
    await asyncio.sleep(20)
    grown = node.memory_bytes() - memory
    await asyncio.to_thread(system.redis.go_on)
    results = await asyncio.to_thread(system.results)
    found = await everything_arrives(swarm, published_of(results))
    await swarm.stop()
    assert not found, found[:10]
    assert max(result["longest_seconds"] for result in results) < 5
    assert sum(sum(result["published"].values()) for result in results) > 3_000  # the calls went on meanwhile
    assert grown < 50_000_000


@pytest.mark.timeout(60)
def test_a_server_starts_without_redis_and_recovers_when_it_appears(system):
    system.redis.stop()
    tokens = system.seed(1)
    node = system.serve()
    wait_until(lambda: node.health()["status"] == "degraded", "the outage was not noticed")
    (token,) = tokens.values()
    client = node.open("trading/signals/", token)
    client.until("recent_signals")
    publish_over(node, "n", "SYM0", 0)
    assert "offset" not in client.until("new_signal")
    assert node.metrics()["sharewise_broker_queued"] >= 1
    system.redis.start()
    assert client.close_code(timeout=10) == 4010
    wait_until(lambda: node.health()["status"] == "ok", "the server did not recover")
    again = node.open("trading/signals/", token, since="trading.signals.symbol.SYM0:gone:0")
    again.until("recent_signals")
    publish_over(node, "n", "SYM0", 1)
    assert again.until("new_signal")["offset"] == 2
    assert node.metrics()["sharewise_broker_degraded_seconds"] == 0
