"""Leases: what a process holds for a while, and loses by itself when it dies. `base` is the contract; `local` keeps it
within one process, `redis` between many."""
