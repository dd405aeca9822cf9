"""Strategies: bars in, proposals out. `base.all_strategies` makes one of each."""
