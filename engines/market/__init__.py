"""Instruments, sessions, quotes, bars, and the feeds that quotes come from."""
