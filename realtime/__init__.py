"""Delivery: brokers, hub, connections and the wire protocol. Pure asyncio, no Django, no Channels.

Read in this order:

    topic.py, publication.py    the two nouns everything else moves around
    brokers/                    who keeps history and carries publications between processes
    hub.py                      topic -> connections of this process; coalesces and fans out
    join.py                     one subscription's race between history and live, as a pure function
    outbox.py                   a slow connection's bounded, conflating queue
    protocol.py                 commands in, replies and effects out; no I/O
    connection.py               the shell around them: one live socket
    transports/                 how bytes reach the socket: plain ASGI, or raw frames on uvicorn
"""
