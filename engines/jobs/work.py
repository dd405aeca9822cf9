"""What a computing process is asked for, and what it answers; and how either is written into a pipe.

A frame is the length of its body, four bytes, big-endian, and the body: one tagged message in MessagePack.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from engines.backtest.run import BacktestProgress, BacktestResult
from engines.backtest.spec import BacktestSpec
from engines.learning.progress import TrainingProgress
from engines.learning.spec import TrainingSpec

HEADER_BYTES = 4
MAX_FRAME_BYTES = 1 << 30
MAX_NEW_TRADES = 200  # of one report


class TrainingWork(msgspec.Struct, frozen=True, tag="training"):
    """Train on `history` (of `engines.market.history.pack`), whose bars are `bar_seconds` long."""

    history: bytes
    spec: TrainingSpec
    bar_seconds: int


class BacktestWork(msgspec.Struct, frozen=True, tag="backtest"):
    """Run a strategy over `history`; "model" needs an encoded `artifact` and its digest."""

    history: bytes
    spec: BacktestSpec
    artifact: bytes | None = None
    digest: str = ""


Work: TypeAlias = TrainingWork | BacktestWork


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Begin. `number` tells this work from the one before."""

    number: int
    work: Work


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Give up the work of this number; one that has ended already is not meant."""

    number: int


Request: TypeAlias = Run | Cancel


class TrainingReport(msgspec.Struct, frozen=True, tag="training_report"):
    """Where a training is, and the memory of the process in MB (10^6 bytes)."""

    progress: TrainingProgress
    memory_mb: float


class BacktestReport(msgspec.Struct, frozen=True, tag="backtest_report"):
    """Where a backtest is; `new_trades` are those closed since the report before, the latest `MAX_NEW_TRADES`."""

    progress: BacktestProgress
    memory_mb: float


Report: TypeAlias = TrainingReport | BacktestReport


class TrainingDone(msgspec.Struct, frozen=True, tag="training_done"):
    """The encoded artifact, its SHA-256 in hex, and those of its facts that are listed without decoding it."""

    artifact: bytes
    digest: str
    metrics: dict[str, float]
    baseline: dict[str, float]
    rows: int
    data_from: int
    data_until: int


class BacktestDone(msgspec.Struct, frozen=True, tag="backtest_done"):
    result: BacktestResult


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """`message` for the user; empty when it was a bug, whose `traceback` is for the log."""

    message: str = ""
    traceback: str = ""


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    pass


class Crashed(msgspec.Struct, frozen=True, tag="crashed"):
    """The process ended in mid-work, or wrote what nobody can read: `reason` says how."""

    reason: str

    @property
    def message(self) -> str:
        return f"the computing process died ({self.reason}); start the job again"


Outcome: TypeAlias = TrainingDone | BacktestDone | Failed | Cancelled | Crashed
Answer: TypeAlias = Report | TrainingDone | BacktestDone | Failed | Cancelled


class BadFrame(ValueError):
    """Bytes that are no frame of this protocol."""


def frame(message: Request | Answer) -> bytes:
    """The bytes of a message, header and all."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {len(body):,} bytes; allowed are {MAX_FRAME_BYTES:,}")
    return len(body).to_bytes(HEADER_BYTES, "big") + body


def body_length(header: bytes) -> int:
    """What a header says. Raises `BadFrame` for one that cannot be."""
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {length:,} bytes; allowed are {MAX_FRAME_BYTES:,}")
    return length


def request(body: bytes) -> Request:
    """Raises `BadFrame`."""
    try:
        return msgspec.msgpack.decode(body, type=Request)  # type: ignore[no-any-return]
    except msgspec.DecodeError as error:
        raise BadFrame(f"no request: {error}") from None


def answer(body: bytes) -> Answer:
    """Raises `BadFrame`."""
    try:
        return msgspec.msgpack.decode(body, type=Answer)  # type: ignore[no-any-return]
    except msgspec.DecodeError as error:
        raise BadFrame(f"no answer: {error}") from None
