"""The seven trading streams: signals, portfolio, executions, sentiment, risk alerts, P&L, F&O."""
