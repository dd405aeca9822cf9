"""Risk of an account: its limits, what reaches them, which orders they refuse, and what a bad day may cost."""
