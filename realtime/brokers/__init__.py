"""Brokers: `base` is the contract; `memory` keeps it within one process, `redis` between many; `sharded` joins several."""
