"""What happens in Redis. Each script touches one topic, whose keys share a hash tag, so that it works in a Cluster.

    <prefix>:{topic}:meta           hash: epoch, kind, offset, ms (time of the last publication)
    <prefix>:{topic}:log            stream of a log topic, entry ids <ms>-<offset>
    <prefix>:{topic}:state          hash of a state topic, key -> last publication
    <prefix>:{topic}:from:<process> number of the last publication that a process stored here
    <prefix>:{topic}:once:<key>     "epoch offset" of the publication with this idempotency key

Every key expires. The meta key outlives the history, so that positions stay comparable.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from realtime.topic import Kind, Retention

META_MARGIN_MS = 10_000
MAX_KNOWN_KEYS = 20_000

# Refusals that the scripts make themselves; redis-py hands them over as the text of a ResponseError.
WRONG_KIND = "SHAREWISE-KIND"
OUT_OF_ORDER = "SHAREWISE-ORDER"

# KEYS meta, data, publisher, idempotency
# ARGV kind, epoch if new, number, number of the one before in this batch, tail, state key, channel, publish command,
#      count, data ms, meta ms, idempotency ms or ''
# Answers {epoch, offset, ms}. The ms are '0' for what an idempotency key kept from being stored again; {'', 0, '0'}
# when this very publication was stored before, and only the answer got lost.
PUBLISH = f"""
local number, before = tonumber(ARGV[3]), tonumber(ARGV[4])
local stored = tonumber(redis.call('GET', KEYS[3]) or '0')
if number <= stored then return {{'', 0, '0'}} end
if before > stored then return redis.error_reply('{OUT_OF_ORDER} the publication before it was not stored') end
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'kind', 'offset', 'ms')
local epoch, kind = meta[1], meta[2]
if kind and kind ~= ARGV[1] then return redis.error_reply('{WRONG_KIND} ' .. kind) end
if ARGV[12] ~= '' then
  local first = redis.call('GET', KEYS[4])
  if first then
    redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[11])
    local first_epoch, first_offset = string.match(first, '^(%S+) (%d+)$')
    return {{first_epoch, tonumber(first_offset), '0'}}
  end
end
local now = redis.call('TIME')
local ms = math.max(now[1] * 1000 + math.floor(now[2] / 1000), tonumber(meta[4] or '0'))
if not epoch then
  epoch = ARGV[2]
  redis.call('DEL', KEYS[2])
end
local offset = string.format('%d', (tonumber(meta[3] or '0')) + 1)
ms = string.format('%d', ms)
local message = epoch .. ' ' .. offset .. ' ' .. ms .. ' ' .. ARGV[5]
if ARGV[1] == 'log' then
  redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[9], ms .. '-' .. offset, 'm', message)
else
  redis.call('HSET', KEYS[2], ARGV[6], message)
end
redis.call('PEXPIRE', KEYS[2], ARGV[10])
redis.call('HSET', KEYS[1], 'epoch', epoch, 'kind', ARGV[1], 'offset', offset, 'ms', ms)
redis.call('PEXPIRE', KEYS[1], ARGV[11])
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[11])
if ARGV[12] ~= '' then redis.call('SET', KEYS[4], epoch .. ' ' .. offset, 'PX', ARGV[12]) end
redis.call(ARGV[8], ARGV[7], message)
return {{epoch, tonumber(offset), ms}}
"""

# KEYS meta, data
# ARGV kind, epoch if new, what ('position' | 'content'), since epoch or '', since offset, since ms or 0, count,
#      data ms, meta ms
# Answers {epoch, offset, 1 if recovered, {messages, oldest first}}. Who gives `since ms` has seen the publication at
# `since`: when Redis has another there, or none, it lost the end of its log, and the topic gets a new epoch.
READ = f"""
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'kind', 'offset')
local epoch, kind = meta[1], meta[2]
if kind and kind ~= ARGV[1] then return redis.error_reply('{WRONG_KIND} ' .. kind) end
local function start_anew()
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'kind', ARGV[1], 'offset', '0', 'ms', '0')
  redis.call('PEXPIRE', KEYS[1], ARGV[9])
  return {{ARGV[2], 0, 0, {{}}}}
end
if not epoch then return start_anew() end
redis.call('PEXPIRE', KEYS[1], ARGV[9])
local offset, since, since_ms = tonumber(meta[3]), tonumber(ARGV[5]), ARGV[6]
local seen = since_ms ~= '0' and ARGV[4] == epoch
if seen and since > offset then return start_anew() end
if ARGV[1] == 'state' then
  redis.call('PEXPIRE', KEYS[2], ARGV[8])
  return {{epoch, offset, 0, ARGV[3] == 'content' and redis.call('HVALS', KEYS[2]) or {{}}}}
end
if ARGV[4] ~= epoch or since > offset then return {{epoch, offset, 0, {{}}}} end
local missing = offset - since
if missing > tonumber(ARGV[7]) then return {{epoch, offset, 0, {{}}}} end
local entries = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', missing + 1)
if seen and entries[missing + 1] and entries[missing + 1][1] ~= since_ms .. '-' .. ARGV[5] then return start_anew() end
if #entries < missing then return {{epoch, offset, 0, {{}}}} end
if missing > 0 then
  local now = redis.call('TIME')
  local oldest_ms = tonumber(string.match(entries[missing][1], '^(%d+)-'))
  if not seen and oldest_ms < now[1] * 1000 - tonumber(ARGV[8]) then return {{epoch, offset, 0, {{}}}} end
end
if ARGV[3] == 'position' then return {{epoch, offset, 1, {{}}}} end
local messages = {{}}
for i = missing, 1, -1 do messages[#messages + 1] = entries[i][2][2] end
return {{epoch, offset, 1, messages}}
"""


class Keys(msgspec.Struct, frozen=True):
    """The keys and the channel of a topic."""

    meta: str
    data: str
    publisher: str
    idempotency_prefix: str
    channel: str


class Names:
    """Builds keys. `database` is in the channel, because Redis' channels do not know databases."""

    def __init__(self, prefix: str, database: int) -> None:
        self._prefix = prefix
        self.keys = lru_cache(MAX_KNOWN_KEYS)(self._keys)  # making them took longer than packing a publication
        self._channel_prefix = f"{prefix}.{database}:{{"

    def _keys(self, name: str, kind: Kind, publisher: str) -> Keys:
        base = f"{self._prefix}:{{{name}}}:"
        return Keys(
            meta=f"{base}meta",
            data=base + kind.value,
            publisher=f"{base}from:{publisher}",
            idempotency_prefix=f"{base}once:",
            channel=self.channel(name),
        )

    def channel(self, name: str) -> str:
        return f"{self._channel_prefix}{name}}}"

    def topic_name(self, channel: bytes) -> str:
        """The topic of a channel."""
        return channel[len(self._channel_prefix) : -1].decode()


def data_ms(retention: Retention) -> int:
    """How long a topic's history stays after its last publication."""
    return int(retention.age_seconds * 1_000)


def meta_ms(retention: Retention) -> int:
    """How long a topic's position stays: longer than anything that is measured by it."""
    return 2 * data_ms(retention) + META_MARGIN_MS
