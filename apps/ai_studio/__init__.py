"""The seven AI Studio streams: training, monitoring, dashboard, marketplace, predictions, backtest, system."""
