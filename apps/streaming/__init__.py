"""Streams over Channels: authentication, the consumer, the publish API, health and metrics."""
