"""Brokers: `base` is the contract; `memory` keeps it in one process, `redis` between many; `sharded` joins several."""
