"""The broker of many processes: history in Redis 7, publications over its pub/sub.

Read in this order:

    scripts.py      what happens in Redis: one Lua call per publication, per read
    codec.py        a publication as bytes, the same in the stream, in the hash and on the channel
    sendqueue.py    what waits to be stored: bounded, in order, retried; no I/O
    sender.py       the thread that stores it
    publisher.py    queue and sender: the publishing side of a process
    feed.py         one subscribed topic: what is next, what is missing, what was delivered provisionally; no I/O
    ears.py         the pub/sub connections that hear publications
    reader.py       history reads, many in one pipeline
    listening.py    feeds, ears and reader: the listening side of an event loop
    servers.py      a URL -> one Redis, Sentinel or Cluster
    broker.py       `RedisBroker`, the two sides together
"""

from realtime.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
