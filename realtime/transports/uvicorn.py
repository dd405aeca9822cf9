"""Raw frames on uvicorn: ready-made bytes go straight to the TCP transport, one write for many messages.

Use it as `uvicorn --ws realtime.transports.uvicorn:RawFrameProtocol config.asgi:application`. It relies on parts of
uvicorn and of websockets that they do not promise; `tests/apps/streaming/test_transports.py` fails when they change.

Of uvicorn's `WebSocketsSansIOProtocol`: `close_sent`, `close_timer`, `config`, `conn`, `connection_lost`,
`connection_made`, `handle_close`, `handle_connect`, `handle_parser_exception`, `handshake_complete`,
`keepalive_timeout`, `loop`, `pause_writing`, `ping_timeout`, `pong_timer`, `queue`, `read_paused`, `request`,
`response`, `resume_writing`, `scope`, `shutdown`, `start_keepalive`, `stop_keepalive`, `transport`, `writable`.

Of its `conn`, a `ServerProtocol`: `available_extensions`, `close_rcvd`, `close_sent`, `data_to_send`, `extensions`,
`parser`, `send_close`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory

from realtime.close import SERVER_RESTARTING
from realtime.frames import DEFLATE_WINDOW_BITS, Batch, Encoding
from realtime.transports.base import nobody
from realtime.transports.mailbox import Gate, Mailbox

EXTENSION = "sharewise.raw_frames"
CLOSE_GRACE_SECONDS = 10.0
PARSER_GRACE_SECONDS = 1.0

_SHARED_DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=DEFLATE_WINDOW_BITS
)


class RawFrameTransport:
    """A `Transport` over one uvicorn WebSocket connection."""

    def __init__(self, protocol: RawFrameProtocol) -> None:
        self._protocol = protocol
        self._paused = False
        self._closed = False
        self._lost = False
        self._unread_bytes = 0
        self._encoding = Encoding(deflated=protocol.deflates)
        self._on_writable: Callable[[], None] = nobody
        self._on_broken: Callable[[], None] = nobody

    @property
    def writable(self) -> bool:
        return not (self._paused or self._closed or self._protocol.close_sent)

    @property
    def buffered_bytes(self) -> int:
        """What the kernel did not take yet."""
        return self._protocol.transport.get_write_buffer_size()

    def makes_way(self) -> bool:
        """Whether there is room for more, or the peer took something since this was last asked."""
        before, self._unread_bytes = self._unread_bytes, self.buffered_bytes
        return not self._paused or self._unread_bytes < before

    def attach(self, on_writable: Callable[[], None], on_broken: Callable[[], None]) -> None:
        if self._lost:
            on_broken()
            return
        self._on_writable = on_writable
        self._on_broken = on_broken

    def batch_mode(self) -> None:
        self._encoding = Encoding(batched=True, deflated=self._encoding.deflated)

    def write(self, batch: Batch) -> None:
        self._protocol.transport.write(self._encoding.wire(batch))

    def close(self, code: int, reason: str, last: Batch | None) -> None:
        protocol = self._protocol
        if self._closed:
            return
        self._closed = True
        if protocol.close_sent or protocol.transport.is_closing():
            # uvicorn is closing, politely: it waits until the peer has read everything, which may be never.
            protocol.transport.abort()
            return
        if last is not None and last.frames:
            protocol.transport.write(self._encoding.wire(last))
        protocol.conn.send_close(code, reason)
        protocol.transport.write(b"".join(protocol.conn.data_to_send()))
        protocol.close_sent = True
        protocol.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        protocol.read_on()  # until the peer's own close frame
        protocol.abort_after_grace()

    def paused(self) -> None:
        self._paused = True
        self._unread_bytes = sys.maxsize

    def resumed(self) -> None:
        self._paused = False
        if not self._closed:
            self._on_writable()

    def lost(self) -> None:
        self._closed = self._lost = True
        on_broken, self._on_writable, self._on_broken = self._on_broken, nobody, nobody
        on_broken()


class RawFrameProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which also offers `scope["extensions"]["sharewise.raw_frames"]`.

    Where uvicorn is to compress (`--ws-per-message-deflate`, its default), compression is negotiated without context
    takeover: what is compressed once fits every connection, and no connection holds a zlib window.
    """

    raw: RawFrameTransport | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = cast("Any", Mailbox())
        self.writable = cast("Any", Gate(is_open=True))
        if self.config.ws_per_message_deflate:
            self.conn.available_extensions = [_SHARED_DEFLATE]

    @property
    def deflates(self) -> bool:
        """Whether the client takes frames that were compressed for everybody: not if it asked for a smaller window."""
        return any(
            isinstance(extension, PerMessageDeflate) and extension.local_max_window_bits >= DEFLATE_WINDOW_BITS
            for extension in self.conn.extensions
        )

    def connection_made(self, transport: Any) -> None:
        self._http = transport.get_protocol()  # who took the request, and now hands over
        super().connection_made(transport)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # not when the handshake itself was refused
            self.raw = RawFrameTransport(self)
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self.raw

    def start_keepalive(self) -> None:
        super().start_keepalive()
        # The handshake is over. What it said is in the scope; the websockets library would keep it twice more.
        self.request.headers.clear()
        self.response.headers.clear()
        del self.request, self.response
        self._let_http_go()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.raw is not None:
            self.raw.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.raw is not None:
            self.raw.resumed()

    def keepalive_timeout(self) -> None:
        if self.read_paused and self.raw is not None and self.raw.makes_way():
            # uvicorn does not read while a command waits, so the answer may lie behind it. Who is gone takes nothing
            # either; and where nothing is to be taken, we are busy, and read on when we are not.
            self.pong_timer = self.loop.call_later(cast("float", self.ping_timeout), self.keepalive_timeout)
            return
        super().keepalive_timeout()
        # The peer does not answer, so it will not read what is buffered for it either.
        self.transport.abort()

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        if self.raw is not None and self.transport.is_closing():
            self.raw.lost()
            self.abort_after_grace()

    def handle_parser_exception(self) -> None:
        """Says why (1007, 1009, …) and goes on reading, into nothing, until the peer has had time to see it: closing
        with unread data makes TCP take the close frame back."""
        if self.close_sent or self.conn.close_sent is None:
            return
        self.close_sent = True
        sent = self.conn.close_sent
        self.queue.put_nowait({"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.read_on()
        if self.raw is not None:
            self.raw.lost()
        self.close_timer = self.loop.call_later(PARSER_GRACE_SECONDS, self._close_or_abort)

    def _close_or_abort(self) -> None:
        self.transport.close()
        self.abort_after_grace()

    def shutdown(self) -> None:
        """Closes with 1012, and nothing is written after that."""
        self.stop_keepalive()
        if self.raw is None or not self.handshake_complete:
            super().shutdown()
            if self.raw is not None:
                self.raw.lost()
        elif self.close_sent or self.transport.is_closing():
            self._close_or_abort()
        else:
            self.raw.close(SERVER_RESTARTING.code, SERVER_RESTARTING.meaning, None)
            self.raw.lost()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.conn.close_rcvd is None:
            # uvicorn would say 1005, as of a close frame that gives no code.
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        super().connection_lost(exc)
        self._let_http_go()
        self.conn.parser.close()  # likewise a generator that holds its owner
        if self.raw is not None:
            self.raw.lost()
            self.raw = None
            del self.scope["extensions"][EXTENSION]

    def _let_http_go(self) -> None:
        """uvicorn's HTTP protocol and its parser hold each other, and would stay until Python looks for such pairs."""
        http, self._http = self._http, None
        if http is not None:
            http.parser = None

    def read_on(self) -> None:
        """Read though a command waits."""
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def abort_after_grace(self) -> None:
        """A peer that does not read would keep its buffer in memory for as long as it likes."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CLOSE_GRACE_SECONDS, self.transport.abort)
