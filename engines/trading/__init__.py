"""Accounts, signals, risk and sentiment."""
