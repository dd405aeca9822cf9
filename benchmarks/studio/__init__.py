"""AI Studio's targets: what training beside the streams costs them, and how long ten years of a backtest take."""
