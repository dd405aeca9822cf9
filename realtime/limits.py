"""How much one client may ask of the server."""

from __future__ import annotations

import msgspec

from realtime.clock import Clock


class Limits(msgspec.Struct, frozen=True):
    """The bounds of §5 of the protocol; `welcome` tells a client those that concern it."""

    message_bytes: int = 65_536
    commands_per_second: float = 20.0
    command_burst: int = 40
    subscriptions_per_connection: int = 100
    connections_per_user: int = 20
    outbox_bytes: int = 1_048_576
    abuse_burst: int = 10
    abuse_refill_per_second: float = 0.2


class TokenBucket:
    """Lets `burst` through at once and `rate_per_second` in the long run."""

    def __init__(self, clock: Clock, rate_per_second: float, burst: int) -> None:
        self._clock = clock
        self._rate_per_second = rate_per_second
        self._burst = float(burst)
        self._tokens = self._burst
        self._filled_monotonic = clock.monotonic()

    def take(self) -> bool:
        """Use one token. False: there was none."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_monotonic) * self._rate_per_second)
        self._filled_monotonic = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def seconds_until_full(self) -> float:
        """How long a client that stops now has to wait until it may burst again."""
        return (self._burst - self._tokens) / self._rate_per_second
