"""Feeds: `replay` walks historical bars, `simulated` makes a market of its own."""
