"""Several nodes as one: limits, revocation, workers, engines, draining behind a load balancer."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request

import psutil
import pytest

from tests.cluster.swarm import Swarm, problems, published_of
from tests.conftest import wait_until
from tests.processes import ROOT, manage
from tests.redis_server import free_port, require

PASSWORD = "a password of a test"


@pytest.mark.timeout(120)
def test_a_users_connections_are_counted_over_all_nodes_and_a_killed_nodes_leave_by_themselves(system):
    tokens = system.seed(1)
    one, two = (system.serve(LIMIT_CONNECTIONS_PER_USER="3") for _ in range(2))
    (token,) = tokens.values()
    kept = [one.open("trading/pnl/", token), one.open("trading/pnl/", token), two.open("trading/pnl/", token)]
    for client in kept:
        client.until("current_pnl")
    refused = two.open("trading/pnl/", token)
    assert refused.next()["error_code"] == "too_many_connections"
    assert refused.close_code() == 4005
    kept[2].close()
    wait_until(lambda: opens(one, token), "a closed connection's place was not given back")
    kept[2] = one.open("trading/pnl/", token)
    kept[2].until("current_pnl")
    one.kill()
    began = time.monotonic()
    wait_until(lambda: opens(two, token), "a killed node's places were not given back", 25)
    assert time.monotonic() - began > 1  # they were leases, not forgotten at once


def opens(node, token):
    with node.open("trading/pnl/", token) as client:
        return client.next()["type"] == "welcome"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["deactivated", "logged out"])
def test_what_is_revoked_on_one_node_closes_on_every_node_within_five_seconds(system, how):
    system.seed(1)
    nodes = [system.serve() for _ in range(2)]
    answer = nodes[0].post("/api/token/", {"email": "user0@example.com", "password": PASSWORD})
    clients = [node.open("trading/pnl/", answer["access"]) for node in nodes]
    for client in clients:
        client.until("current_pnl")
    if how == "deactivated":
        system.python("tests.cluster.deactivate", "user0@example.com")
    else:
        nodes[0].post("/api/token/logout/", {"refresh": answer["refresh"]})
    for client in clients:
        assert client.close_code(timeout=5) == 4001


@pytest.mark.timeout(120)
def test_a_ticket_of_one_node_opens_a_stream_on_another_once(system):
    tokens = system.seed(1)
    one, two = system.serve(), system.serve()
    (token,) = tokens.values()
    ticket = one.post("/api/realtime/ticket/", {}, token)["ticket"]
    from tests.conftest import StreamClient

    def use():
        return StreamClient(f"ws://127.0.0.1:{two.port}/ws/trading/pnl/?ticket={ticket}").next()["type"]

    assert [use(), use()] == ["welcome", "error"]


@pytest.mark.timeout(90)
def test_workers_share_a_port_and_what_one_publishes_reaches_the_clients_of_all(system):
    tokens = system.seed(1)
    node = system.serve("--workers", "2")
    (token,) = tokens.values()
    clients = [node.open("trading/signals/", token) for _ in range(12)]
    for client in clients:
        client.until("recent_signals")
    workers = psutil.Process(node.process.pid).children()
    assert len(workers) == 2
    system.publish("p0", ["SYM0"], 20, 1)
    (result,) = system.results()
    for client in clients:
        got = [client.until("new_signal")["signal"]["id"] for _ in range(result["published"]["SYM0"])]
        assert got == [f"p0:{n}" for n in range(len(got))]
    workers[0].kill()
    wait_until(lambda: len(set(psutil.Process(node.process.pid).children()) - set(workers)) == 1, "no new worker")
    node.wait_until_ready()
    code, _, err = node.stop()
    assert code == 0, err
    assert "Traceback" not in err, err
    assert not any(map(runs, workers))
    assert {client.close_code() for client in clients} <= {1012, 1006}


@pytest.mark.timeout(120)
def test_workers_end_when_the_process_that_started_them_is_killed(system):
    node = system.serve("--workers", "2")
    workers = psutil.Process(node.process.pid).children()
    node.kill()
    wait_until(lambda: not any(map(runs, workers)), "the workers stayed", 20)


def runs(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.timeout(120)
def test_a_second_signal_does_not_wait_for_the_draining(system):
    tokens = system.seed(1)
    node = system.serve(DRAIN_SECONDS="300")
    client = node.open("trading/pnl/", tokens["SYM0"])
    client.until("current_pnl")
    node.process.send_signal(signal.SIGTERM)
    client.until("reconnect")
    code, _, err = node.stop()
    assert code == 0, err
    assert client.close_code() in {1012, 1006}


def test_workers_and_run_engines_need_redis(tmp_path, django_db_setup):
    for arguments, says in ((("serve", "--workers", "2"), "needs REDIS_URL"), (("run_engines",), "needs REDIS_URL")):
        process = manage(*arguments, tmp_path=tmp_path)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert says in err
        assert "Traceback" not in err


@pytest.mark.timeout(120)
def test_one_process_runs_the_engines_and_another_takes_over_within_ten_seconds(system):
    node = system.serve()

    def engines():
        return manage("run_engines", "--speed", "600", tmp_path=system.tmp_path, **system.variables)

    first = engines()
    wait_until(lambda: acting(system) is not None, "nobody runs the engines", 30)
    standby = engines()
    try:
        client = node.open("trading/sentiment/", node.sign_in())
        client.until("current_sentiment")
        client.until("sentiment_update", timeout=30)
        holder = acting(system)
        first.kill()
        drain_messages(client)
        wait_until(lambda: acting(system) not in (holder, None), "nobody took over", 12)
        client.until("sentiment_update", timeout=12)
        standby.send_signal(signal.SIGTERM)
        _, err = standby.communicate(timeout=20)
        assert standby.returncode == 0, err
        assert "Traceback" not in err, err
        assert acting(system) is None  # given up at once, not left to run out
    finally:
        for process in (first, standby):
            process.kill()


def acting(system):
    return system.redis.client().get("sharewise:lease:engines")


def drain_messages(client):
    while client.answer("ping")["type"] != "pong":
        pass


class Nginx:
    """A real nginx with deploy/nginx.conf, but for its ports and paths."""

    def __init__(self, tmp_path, ports):
        self.port = free_port()
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        replaced = {
            "listen 8000;": f"listen 127.0.0.1:{self.port};",
            "127.0.0.1:8001": f"127.0.0.1:{ports[0]}",
            "127.0.0.1:8002": f"127.0.0.1:{ports[1]}",
            "/var/log/nginx/sharewise.log": f"{tmp_path}/access.log",
            "/var/log/nginx/sharewise-error.log": f"{tmp_path}/streams-error.log",
        }
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        paths = "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = text.replace("http {\n", "http {\n" + paths, 1)
        text = f"daemon off;\npid {tmp_path}/nginx.pid;\nerror_log {tmp_path}/error.log;\n" + text
        (tmp_path / "nginx.conf").write_text(text)
        command = [require("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        self.access_log = tmp_path / "access.log"
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "nginx did not start")

    def _answers(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/", timeout=2).status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.mark.timeout(120)
async def test_draining_a_node_behind_nginx_moves_every_client_and_loses_nothing(system):
    require("nginx")
    tokens = system.seed(4)
    nodes = [system.serve() for _ in range(2)]
    nginx = await asyncio.to_thread(Nginx, system.tmp_path, [node.port for node in nodes])
    swarm = Swarm([nginx.port], tokens, 20)
    try:
        await swarm.start()
        for n in range(2):
            system.publish(f"p{n}", list(tokens), 50, 12)
        await asyncio.sleep(3)
        before = (await asyncio.to_thread(nodes[0].health))["connections"]["trading.signals"]
        nodes[0].process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(unready, nodes[0])
        await asyncio.to_thread(nodes[0].process.wait, 15)
        published = published_of(await asyncio.to_thread(system.results))
        await swarm.until(
            lambda: all(len(c.got) >= sum(published[c.symbol].values()) for c in swarm.clients),
            "not everything came",
            20,
        )
        found = [problem for client in swarm.clients for problem in problems(client, published[client.symbol])]
        health = await asyncio.to_thread(nodes[1].health)
    finally:
        await swarm.stop()
        nginx.stop()
    assert not found, found[:10]
    assert before > 10
    assert health["connections"]["trading.signals"] == len(swarm.clients)
    assert sum(client.closes[1012] for client in swarm.clients) == before
    waits = [after_ms for client in swarm.clients for after_ms in client.reconnect_after_ms]
    assert len(waits) == before
    assert max(waits) - min(waits) > 500  # spread, not all at once
    assert nodes[0].process.returncode == 0
    for log in system.tmp_path.glob("*.log"):
        assert "token=" not in log.read_text(), log


def unready(node):
    def says_so():
        try:
            node.health()
        except urllib.error.HTTPError as error:
            return error.code == 503 and json.load(error)["status"] == "draining"
        return False

    wait_until(says_so, "a draining node did not say so")
