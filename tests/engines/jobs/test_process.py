"""Computing processes: real ones, of which some do what none should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from engines.backtest.spec import BacktestSpec
from engines.jobs import process
from engines.jobs import work as protocol
from engines.jobs.process import ROOT, ComputeProcess
from engines.jobs.work import BacktestReport, BacktestWork, Cancelled, Crashed, Failed
from tests.conftest import wait_until


@pytest.fixture(scope="module")
def compute():
    with ComputeProcess("tests.engines.jobs.odd_child") as started:
        yield started


def work(*what, history=b""):
    return BacktestWork(history, BacktestSpec(strategy="trend", symbols=what))


def run(compute, *what, history=b"", should_stop=lambda: False):
    return compute.run(work(*what, history=history), lambda report: None, should_stop)


def after_the_first_report(compute, what, then):
    """What comes of a work during which `then` happens."""
    reports = []

    def should_stop():
        return bool(reports) and bool(then())

    return compute.run(work(what), reports.append, should_stop)


def test_one_child_does_one_work_after_another_and_what_it_prints_breaks_nothing(compute):
    assert run(compute, "echo", "one").artifact == b"one"
    pid = compute.pid
    assert run(compute, "echo", "two").artifact == b"two"
    assert compute.pid == pid


def test_it_yields_to_the_server_and_takes_more_than_a_pipe_holds_at_once(compute):
    facts = run(compute, "facts", history=b"x" * 3_000_000).artifact.decode()
    assert facts == f"{min(19, os.nice(0) + 10)} 3000000 True ", "its niceness, the bars, its memory; no stdin"


def test_a_refusal_is_for_the_user_and_a_bug_for_the_log(compute):
    assert run(compute, "refuse") == Failed(message="fewer bars than are needed")
    bug = run(compute, "bug")
    assert bug.message == ""
    assert "ZeroDivisionError" in bug.traceback


def test_a_cancelled_work_ends_and_the_child_stays(compute):
    run(compute, "echo")
    pid = compute.pid
    assert after_the_first_report(compute, "wait", lambda: True) == Cancelled()
    assert compute.pid == pid
    assert run(compute, "echo", "next").artifact == b"next", "a cancel is not meant for the next work"


def test_native_code_that_hears_nothing_is_killed(compute, monkeypatch):
    monkeypatch.setattr(process, "CANCEL_SECONDS", 0.1)
    run(compute, "echo")
    pid = compute.pid
    assert after_the_first_report(compute, "native", lambda: True) == Cancelled()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(("what", "reason"), [("die", "killed by signal 9"), ("garbage", "a frame of")])
def test_a_child_that_dies_or_writes_garbage_fails_one_work_only(compute, what, reason):
    crashed = run(compute, what)
    assert isinstance(crashed, Crashed)
    assert reason in crashed.message
    assert run(compute, "echo", "alive").artifact == b"alive"


def test_a_child_that_was_killed_while_it_waited_is_replaced(compute):
    run(compute, "echo")
    os.kill(compute.pid, signal.SIGKILL)
    os.waitid(os.P_PID, compute.pid, os.WEXITED | os.WNOWAIT)
    assert run(compute, "echo", "replaced").artifact == b"replaced"


def test_what_the_supervisor_raises_ends_the_work(compute):
    with pytest.raises(ZeroDivisionError):
        after_the_first_report(compute, "wait", lambda: 1 / 0)
    assert compute.pid is None


def test_a_child_ignores_the_signals_of_its_group_and_ends_with_its_parent():
    command = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:

        def ask(request):
            parent.stdin.write(protocol.frame(request).hex().encode() + b"\n")
            parent.stdin.flush()
            length = protocol.body_length(parent.stdout.read(protocol.HEADER_BYTES))
            return protocol.answer(parent.stdout.read(length))

        assert isinstance(ask(protocol.Run(1, work("wait"))), BacktestReport)
        [child] = psutil.Process(parent.pid).children()
        for ignored in (signal.SIGINT, signal.SIGTERM):
            child.send_signal(ignored)
        assert ask(protocol.Cancel(1)) == Cancelled(), "it is alive and listens"
        assert isinstance(ask(protocol.Run(2, work("wait"))), BacktestReport)
        parent.kill()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is an orphan")


# Passes on what it is told, and leaves the answers to whoever started it.
_PARENT = """
import subprocess, sys

child = subprocess.Popen([sys.executable, "-m", "tests.engines.jobs.odd_child"], stdin=subprocess.PIPE)
for line in sys.stdin:
    child.stdin.write(bytes.fromhex(line))
    child.stdin.flush()
"""
