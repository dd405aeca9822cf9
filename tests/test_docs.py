"""What the docs say exists, and what exists the docs say."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from apps.streaming import metrics
from apps.streaming.registry import streams
from config.env import Environment
from realtime import errors
from realtime.close import CLOSE_CODES
from realtime.messages import COMMON_COMMANDS, COMMON_MESSAGES, type_of
from tests.apps.streaming.test_console import page  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PLACES = {"timestamp", "topic", "offset", "request_id"}


def text(name):
    return (DOCS / name).read_text()


def first_column(name, section=""):
    """The code names in the first column of the tables after a heading."""
    body = text(name)
    if section:
        body = body.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `?([\w]+)`? \|", body, re.MULTILINE)


def test_every_setting_is_documented_with_its_default():
    documented = first_column("reference/settings.md")
    fields = msgspec.structs.fields(Environment)
    assert set(documented) - {"variable"} == {field.encode_name for field in fields}
    for field in fields:
        if type(field.default) in (int, float):
            row = re.search(rf"\| `{field.encode_name}` \| `([\d.]+)`", text("reference/settings.md"))
            assert float(row[1]) == float(field.default), field.encode_name


def test_every_metric_is_documented():
    existing = {metric.name for metric in metrics.REGISTRY.collect()}
    assert set(first_column("reference/metrics.md")) - {"metric"} == existing


def test_every_close_code_is_documented_as_it_is():
    rows = re.findall(r"^\| (\d{4}) \| (.+?) \| (.+?) \|$", text("reference/protocol.md"), re.MULTILINE)
    assert rows == [(str(c.code), c.meaning, c.reconnect.value) for c in CLOSE_CODES]


def test_every_error_code_is_documented():
    source = "\n".join(path.read_text() for path in (ROOT / "apps").rglob("*.py"))
    raised = set(re.findall(r"CommandFailed\(\s*\"(\w+)\"", source))
    classes = {
        cls.error_code
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.ProtocolError) and "error_code" in vars(cls)
    }
    documented = set(re.findall(r"`(\w+)`", text("reference/protocol.md").split("## Errors")[1].split("\n## ")[0]))
    assert (raised | classes) - {"protocol_error"} <= documented


def test_the_exception_tree_is_drawn_as_it_is():
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__)) | {"RealtimeError"}
    defined = {
        name for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, errors.RealtimeError)
    }
    assert drawn == defined


def _tables(body):
    return dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", body, re.MULTILINE))


def test_every_message_and_command_of_every_stream_is_documented_with_its_fields():
    page_text = text("reference/messages.md")
    common = _tables(page_text.split("## The fourteen streams")[0])
    assert set(common) == {type_of(m) for m in (*COMMON_MESSAGES, *COMMON_COMMANDS)}
    sections = re.split(r"^### `", page_text, flags=re.MULTILINE)[1:]
    documented = {section.split("`")[0]: section for section in sections}
    for stream in streams():
        table = _tables(documented[f"/ws/{stream.path}"].split("## What the messages carry")[0])
        types = (*stream.messages, *stream.commands)
        assert set(table) == {type_of(m) for m in types}, stream.name
        for message in types:
            fields = set(re.findall(r"`(\w+)`", table[type_of(message)]))
            assert fields == set(message.__struct_fields__) - PLACES, (stream.name, type_of(message))


def test_every_payload_is_documented_with_its_fields():
    import apps.ai_studio.payloads as studio
    import apps.trading.messages as trading

    body = text("reference/messages.md").split("## What the messages carry")[1]
    for module, section in ((trading, body.split("### AI Studio")[0]), (studio, body.split("### AI Studio")[1])):
        documented = dict(re.findall(r"^- \*\*(\w+)\*\*: (.*)$", section, re.MULTILINE))
        payloads = {
            name: cls
            for name, cls in vars(module).items()
            if isinstance(cls, type) and issubclass(cls, module.Payload) and cls is not module.Payload
        }
        assert set(documented) == set(payloads)
        for name, cls in payloads.items():
            fields = re.findall(r"`(\w+)`", documented[name].split("Fields:")[1])
            assert set(fields) == set(cls.__struct_fields__), name


def test_every_link_leads_somewhere():
    for page_path in (ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page_path.read_text()):
            assert "://" in target or (page_path.parent / target).exists(), f"{page_path}: {target}"


def test_the_floors_of_the_house_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--config", "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_two_apps_have_the_same_rooms():
    names = {
        "models",
        "messages",
        "topics",
        "streams",
        "consumers",
        "routing",
        "services",
        "runner",
        "api",
        "websocket_utils",
    }
    for app in ("trading", "ai_studio"):
        assert names <= {path.stem for path in (ROOT / "apps" / app).glob("*.py")}


def test_files_stay_small_enough_to_read():
    for folder in ("realtime", "engines", "apps", "config", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            if "migrations" not in path.parts:
                assert len(path.read_text().splitlines()) < 500, path


def test_lock_files_hold_no_address():
    for path in ROOT.glob("requirements*.lock"):
        assert "://" not in path.read_text()
        assert "--index" not in path.read_text()


def _code(name, language):
    return re.search(rf"```{language}\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)[1]


@pytest.mark.browser
def test_the_readmes_javascript_client_works_unchanged(page, server, user):  # noqa: F811 - the fixture
    from apps.trading.websocket_utils import broadcast_signal
    from tests.apps.streaming.test_console import SIGNAL, sign_in

    sign_in(page, server, user)
    page.locator("#messages li").first.wait_for()
    page.evaluate("socket.close()")
    logged = []
    page.on("console", lambda message: logged.append(message.text))
    code = _code("README.md", "javascript").replace("localhost:8000", f"127.0.0.1:{server.port}")
    page.evaluate(f"(() => {{ {code}; window.readme = socket; }})()")
    page.wait_for_function("window.readme.readyState === 1")
    for _ in range(200):
        broadcast_signal(SIGNAL)
        page.wait_for_timeout(20)
        if logged:
            break
    assert logged[0] == "new NIFTY BUY 18500"


def test_the_bot_of_the_how_to_works(server, user):
    from apps.trading.websocket_utils import notify_new_signal
    from tests.apps.streaming.test_console import SIGNAL
    from tests.conftest import PASSWORD

    code = _code("docs/how-to/connect-a-bot.md", "python").replace("localhost:8000", f"127.0.0.1:{server.port}")
    namespace = {}
    exec(code.rsplit("asyncio.run", 1)[0], namespace)
    got = []

    class Enough(Exception):
        pass

    def handle(message):
        got.append(message["type"])
        if message["type"] == "recent_signals":
            notify_new_signal(user.pk, SIGNAL)
        if message["type"] == "new_signal":
            raise Enough

    with pytest.raises(Enough):
        asyncio.run(namespace["follow"](user.email, PASSWORD, handle))
    assert got == ["recent_signals", "new_signal"]


HOW_TO_HEADER = """
from __future__ import annotations
import sys
from apps.streaming.consumer import StreamConsumer
from apps.streaming.publishing import UserId, notification, publish
from apps.streaming.registry import stream_url
from apps.streaming.stream import Stream
from apps.trading.messages import *
from apps.trading.messages import Any, Sequence
from realtime.messages import DataMessage, Reply, ServerMessage
from realtime.topic import Kind, Topic
messages = topics = wire = addresses = streams = consumers = sys.modules[__name__]
websocket_urlpatterns = []
"""


def test_the_stream_of_the_how_to_works(transactional_db, tmp_path, monkeypatch):
    """The steps of the page, put into one module, make a stream that can be published to."""
    from apps.streaming import publishing, registry

    steps = re.findall(r"```python\n(.*?)```", text("how-to/write-a-stream.md"), re.DOTALL)
    (tmp_path / "how_to.py").write_text("\n".join([HOW_TO_HEADER, *steps]))
    monkeypatch.setattr(publishing, "_notifications", dict(publishing._notifications))
    monkeypatch.setattr(registry, "_streams", dict(registry._streams))
    monkeypatch.syspath_prepend(tmp_path)
    import how_to

    assert str(how_to.websocket_urlpatterns[0].pattern) == "ws/trading/price-alerts/"
    how_to.notify_price_alert("7", {"symbol": "TCS", "price": 3_000.0})
    with pytest.raises(errors.InvalidMessage, match=r"alert\.price"):
        how_to.notify_price_alert("7", {"symbol": "TCS", "price": "dear"})
