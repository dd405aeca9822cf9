"""Every peer: how to start it, what its clients do, and what must be installed for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NODE = Path(__file__).parent / "node"


def symbol(topic: int) -> str:
    """What ours calls a topic of the benchmark."""
    return f"BENCH{topic}"


@dataclass(frozen=True)
class Client:
    """Whom a client of the load generator signs in as, and what it follows. `personal`: its one topic is its own."""

    token: str = ""
    session: str = ""
    topics: tuple[int, ...] = (0,)
    personal: bool = False


@dataclass(frozen=True)
class Peer:
    """`command` may hold `{port}` and, where a server is told to publish elsewhere, `{control_port}`; `environment` may
    hold `{redis_url}`. `target` makes the line that a client of the load generator follows: path, header, and what it
    sends; it is connected once it received `ready`."""

    name: str
    command: tuple[str, ...]
    target: Callable[[Client], str]
    protocol: str = "ws"
    ready: Callable[[Client], str] = lambda _: "welcome"
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def missing(self) -> str:
        """What would have to be installed for it; empty when nothing is missing."""
        modules = [name for name in self.modules if importlib.util.find_spec(name) is None]
        programs = [name for name in self.programs if not (shutil.which(name) or os.access(name, os.X_OK))]
        folders = [f"npm ci in {path.parent.relative_to(ROOT)}" for path in self.folders if not path.is_dir()]
        return ", ".join(modules + programs + folders)


def _ours(client: Client) -> str:
    follow = [f'{{"type":"subscribe_symbol","symbol":"{symbol(topic)}"}}' for topic in client.topics]
    if client.personal:
        follow = []
    elif follow:
        follow[-1] = follow[-1].replace("}", ',"request_id":"ready"}')
    return "\t".join([f"/ws/trading/signals/?token={client.token}", "", *follow])


def _ours_is_ready(client: Client) -> str:
    return "recent_signals" if client.personal or not client.topics else '"request_id":"ready"'


def _listed(client: Client) -> str:
    return ",".join(map(str, client.topics))


def _uvicorn(application: str, *options: str) -> tuple[str, ...]:
    return (
        sys.executable, "-m", "uvicorn", application, "--port", "{port}", "--log-level", "warning",
        "--lifespan", "off", "--loop", "uvloop", *options,
    )  # fmt: skip


def _daphne(application: str) -> tuple[str, ...]:
    return (str(BIN / "daphne"), "-v", "0", "-p", "{port}", application)


def _on(server: str, application: str) -> tuple[str, ...]:
    return _daphne(application) if server == "Daphne" else _uvicorn(application)


_OURS = "benchmarks.peers.ours:application"
_RAW = ("--ws", "realtime.transports.uvicorn:RawFrameProtocol")

OURS = "ours"
OURS_REDIS = "ours, Redis"
OURS_ON_DAPHNE = "ours on Daphne"
NATS = "NATS"
WS_NODE = "ws on Node"
SOCKETIO_NODE = "Socket.IO on Node"
LIMIT = "os.write, the limit"

_ALL: tuple[Peer, ...] = (
    Peer(LIMIT, (sys.executable, "-m", "benchmarks.peers.limit", "{port}"), lambda client: f"/{_listed(client)}"),
    Peer(OURS, _uvicorn(_OURS, *_RAW), _ours, ready=_ours_is_ready),
    Peer(
        OURS_REDIS,
        _uvicorn(_OURS, *_RAW),
        _ours,
        ready=_ours_is_ready,
        environment={"REDIS_URL": "{redis_url}"},
        programs=("redis-server",),
    ),
    Peer(OURS_ON_DAPHNE, _daphne(_OURS), _ours, ready=_ours_is_ready),
    *(
        Peer(
            f"Channels, {layer}, {server}",
            _on(server, "benchmarks.peers.channels_app:application"),
            lambda client: f"/signals/{_listed(client)}",
            environment={"CHANNEL_LAYER": layer, "BENCH_REDIS_URL": "{redis_url}"},
            modules=() if layer == "memory" else ("channels_redis",),
            programs=() if layer == "memory" else ("redis-server",),
        )
        for layer in ("memory", "redis-core", "redis-pubsub")
        for server in ("Daphne", "uvicorn")
    ),
    *(
        Peer(
            f"Channels with its auth middleware, {server}",
            _on(server, "benchmarks.peers.channels_auth_app:application"),
            lambda client: f"/signals\tCookie: sessionid={client.session}",
            ready=lambda _: "recent_signals",
        )
        for server in ("Daphne", "uvicorn")
    ),
    Peer(
        "python-socketio",
        _uvicorn("benchmarks.peers.socketio_app:application"),
        lambda client: f"/socket.io/?EIO=4&transport=websocket&topics={_listed(client)}",
        protocol="socketio",
        modules=("socketio",),
    ),
    Peer(
        SOCKETIO_NODE,
        ("node", str(NODE / "socketio_server.js"), "{port}"),
        lambda client: f"/socket.io/?EIO=4&transport=websocket&topics={_listed(client)}",
        protocol="socketio",
        programs=("node",),
        folders=(NODE / "node_modules",),
    ),
    Peer(
        WS_NODE,
        ("node", str(NODE / "ws_server.js"), "{port}"),
        lambda client: f"/?topics={_listed(client)}",
        programs=("node",),
        folders=(NODE / "node_modules",),
    ),
    Peer(
        NATS,
        (sys.executable, "-m", "benchmarks.peers.nats_app", "{port}", "{control_port}"),
        lambda client: "/\t\t" + ",".join(f"topic-{topic}" for topic in client.topics),
        protocol="nats",
        programs=("nats-server",),
    ),
)

PEERS: Mapping[str, Peer] = {peer.name: peer for peer in _ALL}
ALL = tuple(name for name in PEERS if name != OURS_REDIS and "auth" not in name)
