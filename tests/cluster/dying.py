"""Reports an execution in a transaction, and ends as it is told."""

from __future__ import annotations

import os
import signal
import sys

import django

django.setup()

from django.db import transaction

from apps.accounts.models import User
from apps.streaming import publishing
from apps.trading.websocket_utils import notify_trade_executed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(how: str) -> None:
    user = User.objects.get(email="user0@example.com")
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
            die_once_it_is_stored()


def die_once_it_is_stored() -> None:
    """Die when the broker has the publication, and before the outbox knows."""
    broker = publishing.runtime().broker
    settle = broker.settle

    def settle_and_die(timeout_seconds: float) -> bool:
        settle(timeout_seconds)
        die()
        return True

    broker.settle = settle_and_die


if __name__ == "__main__":
    main(sys.argv[1])
