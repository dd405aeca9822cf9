"""Jobs: training and backtests that wait in the database, are computed in a process of their own, and are watched
while they run. With `CELERY_BROKER_URL` Celery's workers run them, else the embedded worker; the code is the same."""
