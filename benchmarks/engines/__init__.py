"""What the engines take: one module per target, each with `run() -> dict`."""
