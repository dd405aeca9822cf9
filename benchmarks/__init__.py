"""Ours beside what else a team could pick, measured in one run. `make bench`, or `python -m benchmarks --help`."""
