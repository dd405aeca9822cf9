"""The engine's side of trading: all accounts in memory, written through to the database. One thread, one process."""
