"""Strategies run over historical bars."""
