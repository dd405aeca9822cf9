"""The live feed against a local server that speaks the vendor's protocol."""

import asyncio
import json
import logging
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from engines.market.calendar import session_open
from engines.market.data import MarketData
from engines.market.feeds.kite import (
    KITE_URL,
    LONGEST_PAUSE_SECONDS,
    MAX_INSTRUMENTS,
    REFUSED_PAUSE_SECONDS,
    KiteCredentials,
    KiteFeed,
    SignInRefused,
)
from engines.market.feeds.kite_protocol import Level, Packet
from engines.market.instruments import Instrument
from engines.market.quotes import QuoteTick
from tests.engines.market.kite_encoder import encode, frame

KEY, TOKEN = "the+key", "the/secret=token"
NIFTY = Instrument("NIFTY", "NIFTY 50", "index", token=256_265)
INFY = Instrument("INFY", "Infosys", "equity", token=408_065)
TCS = Instrument("TCS", "TCS", "equity", token=2_953_217)
NOW = datetime(2026, 11, 25, 5, 0, tzinfo=UTC)
TRADED_AT = datetime(2026, 11, 25, 4, 59, 58, tzinfo=UTC)
FULL = Packet(
    INFY.token, "full", 1_500.05, volume=1_000, close=1_490.0, open_interest=12, exchange_time=TRADED_AT,
    bids=(Level(1_500.0, 30, 2),), asks=(Level(1_500.1, 40, 3),),
)  # fmt: skip


class Kite:
    """What the server was asked, and what it answers: `script` is called with each connection."""

    def __init__(self, script, status=None):
        self.script, self.status = script, status
        self.asked, self.heard, self.url = [], [], ""

    def check(self, connection, request):
        self.asked.append(request)
        if self.status is not None:
            return connection.respond(self.status, "TokenException\n")
        return None

    async def handle(self, socket):
        number = len(self.heard)
        commands = []
        self.heard.append(commands)
        with suppress(ConnectionClosed):
            await self.script(socket, number, commands)


@asynccontextmanager
async def kite(script, status=None):
    server = Kite(script, status)
    async with serve(server.handle, "127.0.0.1", 0, process_request=server.check) as running:
        server.url = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        yield server


class Sleep:
    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def feed_of(url, instruments=(NIFTY, INFY), **options):
    sleep = options.pop("sleep", None) or Sleep()
    return KiteFeed(
        list(instruments), KiteCredentials(KEY, TOKEN), sleep=sleep, now=lambda: NOW, url=url,
        uniform=lambda low, high: high, **options,
    )  # fmt: skip


async def take(feed, count):
    """The first batches, as a user gets them."""
    got = []
    async with asyncio.timeout(20), aclosing(feed.batches()) as batches:
        async for batch in batches:
            got.append(batch)
            if len(got) == count:
                break
    return got


async def listen(socket, commands, count):
    """Until the client has sent so many commands."""
    while len(commands) < count:
        commands.append(json.loads(await socket.recv()))


def send(*packets):
    return frame([encode(packet) for packet in packets])


def sending(*messages, commands=2):
    """A script that sends messages and stays."""

    async def script(socket, _, heard):
        await listen(socket, heard, commands)
        for message in messages:
            await socket.send(message)
        await socket.wait_closed()

    return script


async def test_it_signs_in_and_subscribes():
    async with kite(sending(send(FULL), commands=3)) as server:
        await take(feed_of(server.url, modes={"NIFTY": "quote"}), 1)
    (request,) = server.asked
    assert parse_qs(urlsplit(request.path).query) == {"api_key": [KEY], "access_token": [TOKEN]}
    assert request.headers["X-Kite-Version"] == "3"
    subscribing, *modes = server.heard[0]
    assert subscribing == {"a": "subscribe", "v": [NIFTY.token, INFY.token]}
    assert modes == [{"a": "mode", "v": ["quote", [NIFTY.token]]}, {"a": "mode", "v": ["full", [INFY.token]]}]


async def test_quotes_of_every_mode():
    ltp = Packet(INFY.token, "ltp", 1_499.0)
    quote = Packet(INFY.token, "quote", 1_501.0, volume=1_200, close=1_490.0, buy_quantity=5)
    index = Packet(NIFTY.token, "quote", 25_000.5, is_index=True, close=24_900.0, change=100.5)
    full_index = msgspec.structs.replace(index, mode="full", exchange_time=TRADED_AT)
    async with kite(sending(send(FULL), send(ltp), send(quote, index), send(full_index))) as server:
        got = await take(feed_of(server.url), 4)
    assert got == [
        [QuoteTick("INFY", TRADED_AT, 1_500.05, 1_500.0, 1_500.1, 0.0, 30, 40, 12, 1_490.0)],
        [QuoteTick("INFY", NOW, 1_499.0, 1_499.0, 1_499.0)],
        [
            QuoteTick("INFY", NOW, 1_501.0, 1_501.0, 1_501.0, 200.0, previous_close=1_490.0),
            QuoteTick("NIFTY", NOW, 25_000.5, 25_000.5, 25_000.5, previous_close=24_900.0),
        ],
        [QuoteTick("NIFTY", TRADED_AT, 25_000.5, 25_000.5, 25_000.5, previous_close=24_900.0)],
    ]


async def test_volume_is_what_traded_since_the_tick_before():
    today, yesterday = TRADED_AT, TRADED_AT - timedelta(days=1)
    told = [
        (yesterday, 1_000, 0.0),
        (yesterday, 1_500, 500.0),
        (yesterday, 1_490, 0.0),  # late, or corrected
        (today, 1_500, 0.0),  # repeated before the first trade
        (today, 40, 40.0),
        (today, 50, 10.0),
        (yesterday, 1_600, 0.0),
    ]
    frames = [send(msgspec.structs.replace(FULL, volume=volume, exchange_time=time)) for time, volume, _ in told]
    async with kite(sending(*frames)) as server:
        got = await take(feed_of(server.url), len(frames))
    assert [batch[0].volume for batch in got] == [traded for _, _, traded in told]


async def test_an_empty_side_of_the_book_has_no_price():
    one_sided = msgspec.structs.replace(FULL, bids=())
    async with kite(sending(send(one_sided))) as server:
        ((tick,),) = await take(feed_of(server.url), 1)
    assert (tick.bid, tick.bid_size) == (0.0, 0)
    assert (tick.ask, tick.ask_size) == (1_500.1, 40)


async def test_after_a_break_it_subscribes_anew_and_misses_no_volume():
    async def script(socket, number, heard):
        await listen(socket, heard, 2)
        await socket.send(send(msgspec.structs.replace(FULL, volume=1_000 + 300 * number)))
        if number:
            await socket.wait_closed()
        else:
            await socket.close(1011)

    sleep = Sleep()
    async with kite(script) as server:
        got = await take(feed_of(server.url, sleep=sleep), 2)
    assert [batch[0].volume for batch in got] == [0.0, 300.0]
    assert server.heard[0] == server.heard[1] != []
    assert len(sleep.seconds) == 1


async def test_pauses_double_up_to_a_limit_and_begin_anew_after_success():
    fails = 9

    async def script(socket, number, heard):
        if number % (fails + 1) < fails:
            return  # closes before a frame
        await listen(socket, heard, 2)
        await socket.send(send(FULL))

    sleep = Sleep()
    async with kite(script) as server:
        await take(feed_of(server.url, sleep=sleep), 2)
    doubling = [min(2.0**n, LONGEST_PAUSE_SECONDS) for n in range(fails)]
    assert sleep.seconds == [*doubling, 1.0, *doubling[1:], LONGEST_PAUSE_SECONDS]


async def test_silence_is_a_lost_connection():
    async def script(socket, number, heard):
        await listen(socket, heard, 2)
        if number:
            await socket.send(send(FULL))
        await socket.wait_closed()

    async with kite(script) as server:
        await take(feed_of(server.url, silence_seconds=0.05), 1)
    assert len(server.heard) >= 2


async def test_heartbeats_are_no_silence_and_no_batches():
    async def script(socket, _, heard):
        await listen(socket, heard, 2)
        for _ in range(20):
            await socket.send(b"\x00")
            await socket.ping()
        await socket.send(send(FULL))
        await socket.wait_closed()

    sleep = Sleep()
    async with kite(script) as server:
        got = await take(feed_of(server.url, sleep=sleep), 1)
    assert len(got[0]) == 1
    assert sleep.seconds == []


@pytest.mark.parametrize("status", [403, 401])
async def test_a_refused_sign_in_is_said_and_not_tried_again_soon(status):
    sleep = Sleep()
    async with kite(None, status) as server:
        feed = feed_of(server.url, sleep=sleep)
        with pytest.raises(SignInRefused, match=f"HTTP {status}.*access token") as raised:
            await take(feed, 1)
        assert (len(server.asked), sleep.seconds) == (1, [])
        with pytest.raises(SignInRefused):  # whoever restarts it waits
            await take(feed, 1)
        assert (len(server.asked), sleep.seconds) == (2, [REFUSED_PAUSE_SECONDS])
    assert TOKEN not in str(raised.value)


async def test_other_refusals_are_tried_again():
    sleep = Sleep()
    async with kite(sending(send(FULL)), 503) as server:
        feed = feed_of(server.url, sleep=sleep)

        async def heal(seconds):
            sleep.seconds.append(seconds)
            server.status = None

        feed._sleep = heal
        assert len(await take(feed, 1)) == 1
    assert sleep.seconds == [1.0]


async def test_a_server_that_is_away_is_tried_again():
    async with kite(sending(send(FULL))) as server:
        url = server.url  # nobody listens there any more after this

    class Enough(Exception):
        pass

    async def sleep(_):
        raise Enough

    with pytest.raises(Enough):
        await take(feed_of(url, sleep=sleep), 1)


async def test_nonsense_and_unknown_tokens_are_counted_and_left_out(caplog):
    unknown = Packet(TCS.token, "ltp", 3_000.0)
    messages = [b"\x00\x05\x01", "no JSON", '{"type":"error","data":"bad the+key"}', '{"type":"order","data":{}}']
    async with kite(sending(*messages, send(unknown, FULL))) as server:
        feed = feed_of(server.url)
        (batch,) = await take(feed, 1)
    assert [tick.symbol for tick in batch] == ["INFY"]
    assert feed.unusable == {"frame": 1, "text": 1, "unknown_token": 1}
    assert "Kite Connect says: bad ***" in caplog.text


async def test_credentials_are_in_no_log_and_no_repr(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("engines", "websockets", "asyncio"):
        caplog.set_level(logging.DEBUG, name)

    async def script(socket, number, heard):
        await listen(socket, heard, 2)
        await socket.send(send(FULL))
        await socket.close(1008, TOKEN)

    async with kite(script) as server:
        feed = feed_of(server.url)
        await take(feed, 2)
        server.status = 403
        with pytest.raises(SignInRefused) as raised:
            await take(feed, 1)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("engines")]
    assert any("no connection" in line for line in ours)
    shown = "\n".join(ours) + repr(raised.value) + repr(KiteCredentials(KEY, TOKEN)) + repr(feed)
    for secret in (KEY, TOKEN, "the%2Bkey", "the%2Fsecret%3Dtoken"):
        assert secret not in shown


async def test_the_market_takes_it():
    """Through the same `MarketData` as every other feed."""
    opening = session_open(NOW.date()).astimezone(UTC)
    frames = [
        send(msgspec.structs.replace(FULL, volume=1_000 + 10 * n, exchange_time=opening.replace(minute=45 + n)))
        for n in range(3)
    ]
    async with kite(sending(*frames)) as server:
        market = MarketData(feed_of(server.url), lambda: 0.0)
        for batch in await take(market.feed, 3):
            market.take(batch)
    assert market.quotes["INFY"].last == 1_500.05
    assert market.previous_close == {"INFY": 1_490.0}
    assert market.rejected == {}


def test_it_is_labelled_as_live():
    feed = feed_of(KITE_URL)
    assert not feed.simulated
    assert "Kite" in feed.description
    assert (feed.warmup(), feed.listed) == ([], 0)
    feed.resume({"INFY": 1.0}, NOW)


@pytest.mark.parametrize(
    ("instruments", "options", "says"),
    [
        ([], {}, "0 instruments"),
        ([Instrument(f"S{n}", "S", "equity", token=n) for n in range(1, MAX_INSTRUMENTS + 2)], {}, "3,001 instruments"),
        ([Instrument("X", "X", "equity")], {}, "X has no instrument token"),
        ([INFY, msgspec.structs.replace(INFY, symbol="INFY2")], {}, "INFY2 and INFY have the token"),
        ([INFY], {"mode": "depth"}, "ltp, quote, full"),
        ([INFY], {"modes": {"TCS": "ltp"}}, "TCS"),
        ([INFY], {"url": "https://example.com"}, "wss://"),
    ],
)
def test_what_cannot_work_is_refused_at_once(instruments, options, says):
    with pytest.raises(ValueError, match=says):
        KiteFeed(instruments, KiteCredentials(KEY, TOKEN), sleep=Sleep(), now=lambda: NOW, **options)


def test_three_thousand_instruments_fit():
    KiteFeed(
        [Instrument(f"S{n}", "S", "equity", token=n) for n in range(1, MAX_INSTRUMENTS + 1)],
        KiteCredentials(KEY, TOKEN), sleep=Sleep(), now=lambda: NOW,
    )  # fmt: skip


def test_credentials_must_be_there():
    with pytest.raises(ValueError, match="both"):
        KiteCredentials(KEY, "")
