"""Channels' channel layer, for other Channels code in the same project, and as another way to publish to the streams.

`memory` is used without Redis, `redis` with it; `streams` is what both do with a group that is a stream's topic.
"""
