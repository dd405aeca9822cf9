"""Every stream on the ASGI servers that know nothing of raw frames, and in Channels' own test client."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import connection

from apps.accounts import tokens
from apps.streaming.registry import streams
from apps.trading.websocket_utils import notify_new_signal
from config.asgi import application
from tests.apps.ai_studio.test_streams import studio
from tests.conftest import StreamClient, wait_until

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
APPLICATION = "config.asgi:application"
SIGNAL = {"id": "1", "symbol": "NIFTY", "signal_type": "BUY", "confidence_score": 0.5, "entry_price": 1.0}

SERVERS = {
    "Daphne": ("daphne", "-p", "{port}", APPLICATION),
    "Hypercorn": ("hypercorn", "--bind", "127.0.0.1:{port}", APPLICATION),
    "Granian": ("granian", "--interface", "asgi", "--port", "{port}", APPLICATION),
}


@pytest.fixture(params=SERVERS)
def port(request, transactional_db):
    """Where such a server listens."""
    program, *options = SERVERS[request.param]
    if shutil.which(program, path=str(BIN)) is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    process = subprocess.Popen(
        [BIN / program, *(option.format(port=number) for option in options)],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(lambda: _answers(number, process), f"{program} did not start")
        yield number
    finally:
        process.terminate()
        log, _ = process.communicate(timeout=10)
    assert "token=ey" not in log


def test_every_endpoint(port, user, instruments):
    ids = studio(user)
    token = tokens.log_in(user).access
    for stream in streams():
        path = stream.path
        if "<" in path:
            path = path[: path.index("<")] + ids[stream.name] + "/"
        with StreamClient(f"ws://127.0.0.1:{port}/ws/{path}?token={token}") as client:
            assert client.next()["type"] == "welcome"
            assert client.next()["type"] in {m.__struct_config__.tag for m in stream.messages}
            client.send_text("garbage")
            client.until("error")
    with StreamClient(f"ws://127.0.0.1:{port}/ws/trading/pnl/") as nobody:
        assert nobody.close_code() == 4001


@pytest.mark.django_db(transaction=True)
async def test_channels_test_client(user, instruments):
    token = (await sync_to_async(tokens.log_in)(user)).access
    client = WebsocketCommunicator(application, f"/ws/trading/signals/?token={token}")
    assert (await client.connect()) == (True, None)
    assert (await client.receive_json_from())["type"] == "welcome"
    assert (await client.receive_json_from())["type"] == "recent_signals"
    notify_new_signal(user.pk, SIGNAL)
    assert (await client.receive_json_from())["signal"]["id"] == "1"
    await client.send_to('{"type": "ping", "request_id": "7"}')
    assert json.loads(await client.receive_from())["request_id"] == "7"
    await client.disconnect()


def _answers(port, process):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        assert process.poll() is None, process.stdout.read()
        return False
    return True
