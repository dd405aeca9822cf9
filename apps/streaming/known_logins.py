"""Which logins are good, without asking the database for each connection.

What the database said is believed for `TRUST_SECONDS`, and `RevocationWatch` asks again sooner than that. Logins that
connect at the same moment are asked about together: a thousand clients that come back cost a few queries.
"""

from __future__ import annotations

import asyncio

import msgspec

from apps.accounts.tokens import Login, good_logins
from apps.streaming.threads import in_database
from realtime.clock import Clock

TRUST_SECONDS = 4.0  # revocation is promised within five
KEEP_SECONDS = 60.0  # how long a login is asked about again after its last connection came
MAX_KNOWN = 50_000
MAX_AT_ONCE = 500


class _Known(msgspec.Struct):
    login: Login
    checked_monotonic: float
    used_monotonic: float


class KnownLogins:
    """Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asked: dict[str, asyncio.Future[Login | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def find(self, family_id: str) -> Login | None:
        """The login of a token family, or None when it is not, or no longer, good. Raises Django's `Error` when the
        database cannot be asked."""
        now = self._clock.monotonic()
        known = self._known.get(family_id)
        if known is not None and now - known.checked_monotonic <= TRUST_SECONDS:
            known.used_monotonic = now
            return known.login
        answer = self._asked.get(family_id)
        if answer is None:
            answer = self._asked[family_id] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(answer)  # whoever goes away leaves it to the others who wait for it

    async def check(self, in_use: set[str]) -> set[str]:
        """Ask the database about the logins `in_use` and those used lately. Those of `in_use` that are good."""
        now = self._clock.monotonic()
        for family_id, known in list(self._known.items()):
            if family_id in in_use:
                known.used_monotonic = now
            elif now - known.used_monotonic > KEEP_SECONDS or len(self._known) > MAX_KNOWN:
                del self._known[family_id]
        asked = sorted(in_use | set(self._known))
        good: set[str] = set()
        for start in range(0, len(asked), MAX_AT_ONCE):
            some = asked[start : start + MAX_AT_ONCE]
            good |= (await self._good(some)).keys()
        return good & in_use

    def is_staff(self, family_id: str) -> bool:
        """Whether the login's user was staff when it was last asked about."""
        known = self._known.get(family_id)
        return known is not None and known.login.is_staff

    @property
    def count(self) -> int:
        """How many logins are kept and asked about."""
        return len(self._known)

    async def _ask(self) -> None:
        while self._asked:
            some = dict(list(self._asked.items())[:MAX_AT_ONCE])
            try:
                good = await self._good(list(some))
            except Exception as error:  # noqa: BLE001 - handed to each who waits, to be raised there
                for family_id, answer in some.items():
                    del self._asked[family_id]
                    answer.set_exception(error)
            else:
                for family_id, answer in some.items():
                    del self._asked[family_id]
                    answer.set_result(good.get(family_id))

    async def _good(self, family_ids: list[str]) -> dict[str, Login]:
        asked_monotonic = self._clock.monotonic()
        good = await in_database(good_logins, family_ids)
        for family_id in family_ids:
            login = good.get(family_id)
            known = self._known.get(family_id)
            if login is None:
                self._known.pop(family_id, None)
            elif known is not None:
                known.login, known.checked_monotonic = login, asked_monotonic
            else:
                self._known[family_id] = _Known(login, asked_monotonic, asked_monotonic)
        return good
