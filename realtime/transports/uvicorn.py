"""Raw frames on uvicorn: ready-made bytes go straight to the TCP transport, one write for many messages.

Use it as `uvicorn --ws realtime.transports.uvicorn:RawFrameProtocol config.asgi:application`. It relies on these
parts of uvicorn's `WebSocketsSansIOProtocol`, and `tests/apps/streaming/test_transports.py` fails when they change:
`config`, `scope`, `conn`, `transport`, `queue`, `writable`, `request`, `response`, `start_keepalive`,
`close_sent`, `close_timer`, `read_paused`, `handle_connect`,
`handle_close`, `handle_parser_exception`, `keepalive_timeout`, `pause_writing`, `resume_writing`, `connection_lost`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory

from realtime.frames import DEFLATE_WINDOW_BITS, Batch, Encoding
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
        self._encoding = Encoding(deflated=protocol.deflates)
        self._on_writable: Callable[[], None] = lambda: None
        self._on_broken: Callable[[], None] = lambda: None

    @property
    def writable(self) -> bool:
        return not (self._paused or self._closed or self._protocol.close_sent)

    @property
    def buffered_bytes(self) -> int:
        """What the kernel did not take yet."""
        return self._protocol.transport.get_write_buffer_size()

    def attach(self, on_writable: Callable[[], None], on_broken: Callable[[], None]) -> None:
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
        # A peer that does not read would keep its buffer in memory for as long as it likes.
        protocol.close_timer = protocol.loop.call_later(CLOSE_GRACE_SECONDS, protocol.transport.abort)

    def paused(self) -> None:
        self._paused = True

    def resumed(self) -> None:
        self._paused = False
        if not self._closed:
            self._on_writable()

    def lost(self) -> None:
        self._closed = True
        self._on_broken()


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

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.raw is not None:
            self.raw.paused()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.raw is not None:
            self.raw.resumed()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        # The peer does not answer, so it will not read what is buffered for it either.
        self.transport.abort()

    def handle_close(self, event: Any) -> None:
        super().handle_close(event)
        if self.raw is not None and self.transport.is_closing():
            self.raw.lost()
            self.close_timer = self.close_timer or self.loop.call_later(CLOSE_GRACE_SECONDS, self.transport.abort)

    def handle_parser_exception(self) -> None:
        """Says why (1007, 1009, …) and goes on reading, into nothing, until the peer has had time to see it: closing
        with unread data makes TCP take the close frame back."""
        if self.close_sent or self.conn.close_sent is None:
            return
        self.close_sent = True
        sent = self.conn.close_sent
        self.queue.put_nowait({"type": "websocket.disconnect", "code": sent.code, "reason": sent.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.raw is not None:
            self.raw.lost()
        self.close_timer = self.loop.call_later(PARSER_GRACE_SECONDS, self._close_or_abort)

    def _close_or_abort(self) -> None:
        """Close once what is buffered has left, but do not wait for ever for a peer that does not read it."""
        self.close_timer = self.loop.call_later(CLOSE_GRACE_SECONDS, self.transport.abort)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.raw is not None:
            self.raw.lost()
