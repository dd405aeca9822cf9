"""Training and backtests in a process of their own, so that they hold up neither the server's loop nor its memory."""
