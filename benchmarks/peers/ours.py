"""This project: real users, real tokens, the signals stream; published as an engine would."""

from __future__ import annotations

import os

from benchmarks.garbage import watched
from benchmarks.pump import Messages, controlled
from config.asgi import application as streams


def _publish(messages: Messages, personal: bool) -> None:
    from apps.streaming.publishing import publish_to_each  # noqa: PLC0415 - needs Django set up
    from apps.trading.messages import NewSignal  # noqa: PLC0415 - as above
    from apps.trading.topics import user_signals  # noqa: PLC0415 - as above
    from apps.trading.websocket_utils import broadcast_signal  # noqa: PLC0415 - as above

    if not personal:
        for _, content in messages:
            broadcast_signal(content)
        return
    # The users' ids count up from 1. One who is to get several gets one per pass.
    waiting = [(str(topic + 1), content) for topic, content in messages]
    while waiting:
        now = dict(reversed(waiting))  # of each, the first
        publish_to_each(user_signals, NewSignal, now, field="signal", key=None)
        waiting = [(user, content) for user, content in waiting if now[user] is not content]


application = controlled(streams, _publish)
if os.environ.get("BENCH_GARBAGE"):
    application = watched(application)
