"""Reports an execution in a transaction, and ends as it is told."""

from __future__ import annotations

import os
import signal
import sys

import django

django.setup()

from django.db import transaction

from apps.accounts.models import User
from apps.trading.websocket_utils import notify_trade_executed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(how: str) -> None:
    user = User.objects.get()
    execution = {"id": how, "order_id": "o1", "symbol": "SYM0", "side": "BUY", "quantity": 1, "price": 100.0}
    with transaction.atomic():
        if how == "killed-after-commit":
            transaction.on_commit(die)  # runs before the publication does
        notify_trade_executed(user.pk, execution)
        if how == "rolled-back":
            transaction.set_rollback(True)
        if how == "killed-before-commit":
            die()
        if how == "killed-after-publishing":
            # After the broker has it, and before the outbox knows.
            from apps.streaming import publishing

            publishing.runtime().broker.settle = lambda seconds, settle=publishing.runtime().broker.settle: (
                settle(seconds),
                die(),
            )


if __name__ == "__main__":
    main(sys.argv[1])
