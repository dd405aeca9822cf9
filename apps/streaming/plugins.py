"""What the apps above hand down: their engines, their demo data, their probes for `test_websockets`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from django.db.models import Model

from apps.accounts.models import User
from engines.market.data import MarketData
from engines.market.feeds.base import Feed


class Runner(Protocol):
    """An app's engines: `start`, then `run` until cancelled, then `stop`."""

    async def start(self) -> None: ...

    async def run(self) -> None: ...

    async def stop(self) -> None: ...


class Probe(msgspec.Struct, frozen=True):
    """How to see that a stream delivers: call `notify` with `arguments`, and expect a message of `message_type` that
    holds `expected`."""

    stream: str
    object_id: str
    notify: str
    arguments: Mapping[str, Any]
    message_type: str
    expected: Mapping[str, Any]


RunnerFactory = Callable[[MarketData], Runner]
DemoSeeder = Callable[[User, Feed], None]
# Adds what it had to create for the test to the list; deleting that removes all of it.
ProbeMaker = Callable[[User, list[Model]], Sequence[Probe]]

HealthListener = Callable[[], Awaitable[None]]

runner_factories: list[RunnerFactory] = []
demo_seeders: list[DemoSeeder] = []
probe_makers: list[ProbeMaker] = []
health_listeners: list[HealthListener] = []
health_looks: list[HealthListener] = []


def provide(
    *,
    runner: RunnerFactory,
    demo: DemoSeeder,
    probes: ProbeMaker,
    on_health_change: HealthListener | None = None,
    on_health_look: HealthListener | None = None,
) -> None:
    """Called once by each app when it is ready. `on_health_change` is called, in a process that serves, when its broker
    is degraded or well again; `on_health_look` every few seconds, where processes share a broker."""
    if on_health_change is not None:
        health_listeners.append(on_health_change)
    if on_health_look is not None:
        health_looks.append(on_health_look)
    runner_factories.append(runner)
    demo_seeders.append(demo)
    probe_makers.append(probes)
