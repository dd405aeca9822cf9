"""Which logins are good, without asking the database for each connection.

What the database said is believed for `TRUST_SECONDS`, and `RevocationWatch` asks again sooner than that. Logins that
connect at the same moment are asked about together.
"""

from __future__ import annotations

import msgspec

from apps.accounts.tokens import Login, good_logins
from apps.streaming.threads import in_database, in_database_together
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

    async def find(self, family_id: str) -> Login | None:
        """The login of a token family, or None when it is not, or no longer, good. Raises Django's `Error` when the
        database cannot be asked."""
        now = self._clock.monotonic()
        known = self._known.get(family_id)
        if known is not None and now - known.checked_monotonic <= TRUST_SECONDS:
            known.used_monotonic = now
            return known.login
        login = await in_database_together(good_logins, family_id)
        self._note(family_id, login, now)
        return login

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
            asked_monotonic = self._clock.monotonic()
            found = await in_database(good_logins, some)
            for family_id in some:
                self._note(family_id, found.get(family_id), asked_monotonic)
            good |= found.keys()
        return good & in_use

    def is_staff(self, family_id: str) -> bool:
        """Whether the login's user was staff when it was last asked about."""
        known = self._known.get(family_id)
        return known is not None and known.login.is_staff

    @property
    def count(self) -> int:
        """How many logins are kept and asked about."""
        return len(self._known)

    def _note(self, family_id: str, login: Login | None, asked_monotonic: float) -> None:
        known = self._known.get(family_id)
        if login is None:
            self._known.pop(family_id, None)
        elif known is None:
            self._known[family_id] = _Known(login, asked_monotonic, asked_monotonic)
        elif asked_monotonic >= known.checked_monotonic:
            known.login, known.checked_monotonic = login, asked_monotonic
