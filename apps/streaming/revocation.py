"""Closes connections that are no longer allowed, in whatever process that was decided: a deactivated user, a revoked
login, a session that was signed out, a changed password, staff that is staff no more, an object that the user may not
see any more."""

from __future__ import annotations

import asyncio
import logging

from django.db import Error as DatabaseError

from apps.accounts.tokens import active_users, ended_sessions
from apps.streaming.authentication import StreamConnection
from apps.streaming.known_logins import KnownLogins
from apps.streaming.threads import in_database
from realtime.close import NOT_AUTHENTICATED
from realtime.hub import Hub

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
OBJECT_CHECKS_EVERY = 5  # of the checks above: asking about objects is a query per connection


class RevocationWatch:
    """Asks the database every `CHECK_SECONDS`, once for all connections of the process, while there are any, and while
    those that ended lately may come back."""

    def __init__(self, hub: Hub, logins: KnownLogins) -> None:
        self._hub = hub
        self._logins = logins
        self._task: asyncio.Task[None] | None = None
        self._checks = 0

    def ensure_running(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while self._hub.user_ids or self._logins.count:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.check()
            except DatabaseError:
                log.exception("could not check for revoked logins; trying again")

    async def check(self) -> None:
        """Close every connection that is no longer allowed."""
        connections = [c for c in self._hub.connections if isinstance(c, StreamConnection)]
        held = [(c, c.family_id, c.session_key) for c in connections]
        families = {family_id for _, family_id, _ in held if family_id}
        sessions = {session_key for _, _, session_key in held if session_key}
        users = {connection.user_id for connection, family_id, _ in held if not family_id}
        good_families = await self._logins.check(families)
        gone_sessions = await in_database(ended_sessions, sessions) if sessions else set()
        staff_of_users = await in_database(active_users, users) if users else {}
        for connection, family_id, session_key in held:
            if (connection.family_id, connection.session_key) != (family_id, session_key):
                continue  # it has authenticated again meanwhile
            if family_id:
                is_good = family_id in good_families
                is_staff = self._logins.is_staff(family_id)
            else:
                is_good = connection.user_id in staff_of_users and session_key not in gone_sessions
                is_staff = staff_of_users.get(connection.user_id, False)
            if not is_good or (connection.is_staff and not is_staff):
                connection.close(NOT_AUTHENTICATED, "your access was revoked")
        self._checks += 1
        if self._checks % OBJECT_CHECKS_EVERY == 0:
            for connection in connections:
                await connection.check_object()
