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


@dataclass(frozen=True)
class Peer:
    """`command` may hold `{port}` and, where a server is told to publish elsewhere, `{control_port}`. `target` makes,
    from an access token of ours, the line that a client of the load generator follows: its path, and after a tab what
    it sends."""

    name: str
    command: tuple[str, ...]
    target: Callable[[str], str]
    protocol: str = "ws"
    ready: str = "welcome"
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """What would have to be installed for it; empty when nothing is missing."""
        modules = [name for name in self.modules if importlib.util.find_spec(name) is None]
        programs = [name for name in self.programs if not (shutil.which(name) or os.access(name, os.X_OK))]
        return ", ".join(modules + programs)


def _ours(token: str) -> str:
    return f'/ws/trading/signals/?token={token}\t{{"type":"subscribe_symbol","symbol":"NIFTY"}}'


def _uvicorn(application: str, *options: str) -> tuple[str, ...]:
    return (
        sys.executable, "-m", "uvicorn", application, "--port", "{port}", "--log-level", "warning",
        "--lifespan", "off", "--loop", "uvloop", *options,
    )  # fmt: skip


def _daphne(application: str) -> tuple[str, ...]:
    return (str(BIN / "daphne"), "-v", "0", "-p", "{port}", application)


_CHANNELS = "benchmarks.peers.channels_app:application"
_RAW = ("--ws", "realtime.transports.uvicorn:RawFrameProtocol")

PEERS: tuple[Peer, ...] = (
    Peer("ours", _uvicorn("benchmarks.peers.ours:application", *_RAW), _ours, ready="subscription_confirmed"),
    Peer("ours on Daphne", _daphne("benchmarks.peers.ours:application"), _ours, ready="subscription_confirmed"),
    *(
        Peer(
            f"Channels, {layer}, {server}",
            _daphne(_CHANNELS) if server == "Daphne" else _uvicorn(_CHANNELS),
            lambda _: "/signals/0",
            environment={"CHANNEL_LAYER": layer},
            modules=() if layer == "memory" else ("channels_redis",),
        )
        for layer in ("memory", "redis-core", "redis-pubsub")
        for server in ("Daphne", "uvicorn")
    ),
    Peer(
        "python-socketio",
        _uvicorn("benchmarks.peers.socketio_app:application"),
        lambda _: "/socket.io/?EIO=4&transport=websocket",
        protocol="socketio",
        modules=("socketio",),
    ),
    Peer(
        "NATS",
        (sys.executable, "-m", "benchmarks.peers.nats_app", "{port}", "{control_port}"),
        lambda _: "/\ttopic-0",
        protocol="nats",
        programs=("nats-server",),
    ),
)
