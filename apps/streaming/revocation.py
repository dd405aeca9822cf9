"""Closes connections whose user was deactivated or whose login was revoked, in whatever process that happened."""

from __future__ import annotations

import asyncio
import logging

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError

from apps.accounts.tokens import inactive_users, revoked_families
from apps.streaming.authentication import StreamConnection
from realtime.close import NOT_AUTHENTICATED
from realtime.hub import Hub

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0


class RevocationWatch:
    """Asks the database every `CHECK_SECONDS`, once for all connections of the process, while there are any."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._task: asyncio.Task[None] | None = None

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
        if not connections:
            return
        users = {connection.user_id for connection in connections}
        families = {connection.family_id for connection in connections if connection.family_id}
        gone_users = await sync_to_async(inactive_users)(users)
        gone_families = await sync_to_async(revoked_families)(families) if families else set()
        for connection in connections:
            if connection.user_id in gone_users or connection.family_id in gone_families:
                connection.close(NOT_AUTHENTICATED, "your access was revoked")
