"""Closes connections that are no longer allowed, in whatever process that was decided: a deactivated user, a revoked
login, a session that was signed out, a changed password, staff that is staff no more, an object that the user may not
see any more."""

from __future__ import annotations

import asyncio
import logging

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from apps.accounts.tokens import active_users, ended_sessions, revoked_families
from apps.streaming.authentication import StreamConnection
from realtime.close import NOT_AUTHENTICATED
from realtime.errors import ProtocolError
from realtime.hub import Hub

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
OBJECT_CHECKS_EVERY = 5  # of the checks above: asking about objects is a query per connection


class RevocationWatch:
    """Asks the database every `CHECK_SECONDS`, once for all connections of the process, while there are any."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._task: asyncio.Task[None] | None = None
        self._checks = 0

    def ensure_running(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while self._hub.user_ids:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.check()
            except DatabaseError:
                log.exception("could not check for revoked logins; trying again")

    async def check(self) -> None:
        """Close every connection that is no longer allowed."""
        connections = [c for c in self._hub.connections if isinstance(c, StreamConnection)]
        users = {connection.user_id for connection in connections}
        families = {connection.family_id for connection in connections if connection.family_id}
        sessions = {connection.session_key for connection in connections if connection.session_key}
        is_staff = await database_sync_to_async(active_users)(users)
        gone_families = await database_sync_to_async(revoked_families)(families) if families else set()
        gone_sessions = await database_sync_to_async(ended_sessions)(sessions) if sessions else set()
        for connection in connections:
            if (
                connection.user_id not in is_staff
                or (connection.is_staff and not is_staff[connection.user_id])
                or connection.family_id in gone_families
                or connection.session_key in gone_sessions
            ):
                connection.close(NOT_AUTHENTICATED, "your access was revoked")
        self._checks += 1
        if self._checks % OBJECT_CHECKS_EVERY == 0:
            await self._check_objects(connections)

    async def _check_objects(self, connections: list[StreamConnection]) -> None:
        for connection in connections:
            if connection.reauthorize is None or connection.closed_with is not None:
                continue
            try:
                await connection.reauthorize()
            except ProtocolError as refused:
                connection.reject(refused)
