"""Makes a user, and prints the access token. At a SIGUSR1 it declares the jobs lost whose worker gives no sign of life,
as an engines' process does, but an hour from now; and prints how many there were."""

from __future__ import annotations

import signal
import sys
from datetime import timedelta

from tests.cluster import seed

if __name__ == "__main__":
    from django.utils import timezone

    from apps.ai_studio.jobs.watch import fail_lost_jobs

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    seed.main(1)
    sys.stdout.flush()
    signal.sigwait({signal.SIGUSR1})
    print(fail_lost_jobs(timezone.now() + timedelta(hours=1)))
