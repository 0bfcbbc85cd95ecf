"""The data of a Redis, with the commands that the gateway uses: a model that runs the gateway's real Lua scripts.

Every write goes to a log, as to an append-only file or a replica, with absolute times. So whatever a failure keeps is a
prefix of the log, and `Database(log[:n])` is what a server has after it. test_database.py holds the commands to a real
redis-server.
"""

import fnmatch
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, TypeAlias

import lupa.lua51 as lua

Word: TypeAlias = bytes
Write: TypeAlias = tuple[Word, ...]
Reply: TypeAlias = Any
"""None, int, bytes, a list of replies, or a ReplyError."""


class ReplyError(Exception):
    """An error reply: its text begins with the code."""


class Database:
    """Keys and their values at a moment. `clock` gives Unix milliseconds."""

    def __init__(self, clock: Callable[[], int], log: Iterable[tuple[Write, ...]] = ()) -> None:
        self.clock = clock
        self.log: list[tuple[Write, ...]] = []
        """What each command or script has written, in their order."""
        self._values: dict[bytes, Any] = {}
        self._ends: dict[bytes, int] = {}
        self._written: list[Write] = []
        for writes in log:
            for write in writes:
                self.call(*write)
            self._written.clear()
            self.log.append(writes)

    def run(self, *words: Word) -> Reply:
        """Run a command of a client, and log what it has written."""
        try:
            return self.call(*words)
        finally:
            self._log()

    def run_script(self, source: bytes, keys: Sequence[Word], arguments: Sequence[Word]) -> Reply:
        """Run a script, and log what it has written as one."""
        runtime, function = compiled(source)
        runtime.globals()[b"call_redis"] = self._call_from_lua
        try:
            return _to_reply(function(runtime.table_from(keys), runtime.table_from(arguments)))
        except lua.LuaError as error:
            raise ReplyError(f"ERR {error}") from error
        finally:
            self._log()

    def _log(self) -> None:
        if self._written:
            self.log.append(tuple(self._written))
            self._written.clear()

    def _call_from_lua(self, *words: Any) -> Any:
        return _to_lua(runtime(), self.call(*[_to_word(word) for word in words]))

    def call(self, *words: Word) -> Reply:
        """Run one command."""
        name, *arguments = words
        found = COMMANDS.get(name.upper())
        if found is None:
            raise ReplyError(f"ERR unknown command '{name.decode()}'")
        return found(self, *arguments)

    # -- what commands are made of

    def get(self, key: Word, kind: type, new: bool = False) -> Any:
        """Return the value of a key, None if there is none; or a new one of the kind."""
        end = self._ends.get(key)
        if end is not None and end <= self.clock():
            self._values.pop(key, None)
            del self._ends[key]
        value = self._values.get(key)
        if value is None and new:
            value = self._values[key] = kind()
        if value is not None and type(value) is not kind:
            raise ReplyError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def text(self, key: Word) -> Word | None:
        """Return the value of a key, None if it is no string."""
        return self._values[key] if self.exists(key) and isinstance(self._values[key], bytes) else None

    def exists(self, key: Word) -> bool:
        self.get(key, type(self._values.get(key, b"")))
        return key in self._values

    def put(self, key: Word, value: Any) -> None:
        self._values[key] = value

    def delete(self, key: Word) -> int:
        is_there = self.exists(key)
        self._values.pop(key, None)
        self._ends.pop(key, None)
        return int(is_there)

    def drop_if_empty(self, key: Word) -> None:
        if not self._values.get(key):
            self._values.pop(key, None)
            self._ends.pop(key, None)

    def end(self, key: Word, at: int | None) -> None:
        if at is None:
            self._ends.pop(key, None)
        else:
            self._ends[key] = at

    def end_of(self, key: Word) -> int | None:
        return self._ends.get(key)

    def names(self) -> list[Word]:
        return [key for key in list(self._values) if self.exists(key)]

    def wrote(self, *words: Word | int | float) -> None:
        """Log a write."""
        self._written.append(tuple(word if isinstance(word, bytes) else b"%d" % word for word in words))


class Stream(list[tuple[bytes, tuple[Word, ...]]]):
    """The entries of a stream: id, fields and values."""


class ScoredSet(dict[Word, float]):
    """The members of a sorted set, and their scores."""

    def ordered(self) -> list[tuple[float, Word]]:
        return sorted((score, member) for member, score in self.items())


class List(list[Word]):
    """A list."""


class Fields(dict[Word, Word]):
    """A hash."""


class Set(dict[Word, None]):
    """A set whose order is that of the writes, and not of hashes."""


def _set(base: Database, key: Word, value: Word, *options: Word) -> Reply:
    words = [option.upper() for option in options]
    if b"NX" in words and base.exists(key):
        return None
    end = None
    if b"PX" in words:
        end = base.clock() + int(options[words.index(b"PX") + 1])
    elif b"EX" in words:
        end = base.clock() + 1000 * int(options[words.index(b"EX") + 1])
    elif b"PXAT" in words:
        end = int(options[words.index(b"PXAT") + 1])
    base.put(key, value)
    base.end(key, end)
    base.wrote(b"SET", key, value, *(() if end is None else (b"PXAT", end)))
    return b"OK"


def _get(base: Database, key: Word) -> Reply:
    return base.get(key, bytes)


def _setrange(base: Database, key: Word, offset: Word, part: Word) -> Reply:
    value, start = base.get(key, bytes) or b"", int(offset)
    value = value.ljust(start, b"\0")
    value = value[:start] + part + value[start + len(part) :]
    base.put(key, value)
    base.wrote(b"SETRANGE", key, offset, part)
    return len(value)


def _delete(base: Database, *keys: Word) -> Reply:
    gone = [key for key in keys if base.delete(key)]
    if gone:
        base.wrote(b"DEL", *gone)
    return len(gone)


def _exists(base: Database, *keys: Word) -> Reply:
    return sum(base.exists(key) for key in keys)


def _rename(base: Database, old: Word, new: Word) -> Reply:
    if not base.exists(old):
        raise ReplyError("ERR no such key")
    value, end = base._values.pop(old), base._ends.pop(old, None)
    base.put(new, value)
    base.end(new, end)
    base.wrote(b"RENAME", old, new)
    return b"OK"


def _pexpireat(base: Database, key: Word, at: Word) -> Reply:
    if not base.exists(key):
        return 0
    base.end(key, int(at))
    base.wrote(b"PEXPIREAT", key, int(at))
    return 1


def _pexpire(base: Database, key: Word, milliseconds: Word) -> Reply:
    return _pexpireat(base, key, b"%d" % (base.clock() + int(milliseconds)))


def _expire(base: Database, key: Word, seconds: Word) -> Reply:
    return _pexpireat(base, key, b"%d" % (base.clock() + 1000 * int(seconds)))


def _pttl(base: Database, key: Word) -> Reply:
    if not base.exists(key):
        return -2
    end = base.end_of(key)
    return -1 if end is None else end - base.clock()


def _time(base: Database) -> Reply:
    now = base.clock()
    return [b"%d" % (now // 1000), b"%d" % (now % 1000 * 1000)]


def _hset(base: Database, key: Word, *pairs: Word) -> Reply:
    fields, count = base.get(key, Fields, new=True), 0
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        count += name not in fields
        fields[name] = value
    base.wrote(b"HSET", key, *pairs)
    return count


def _hsetnx(base: Database, key: Word, name: Word, value: Word) -> Reply:
    fields = base.get(key, Fields)
    return 0 if fields and name in fields else _hset(base, key, name, value)


def _hget(base: Database, key: Word, name: Word) -> Reply:
    return (base.get(key, Fields) or {}).get(name)


def _hmget(base: Database, key: Word, *names: Word) -> Reply:
    fields = base.get(key, Fields) or {}
    return [fields.get(name) for name in names]


def _hgetall(base: Database, key: Word) -> Reply:
    return [part for pair in (base.get(key, Fields) or {}).items() for part in pair]


def _hdel(base: Database, key: Word, *names: Word) -> Reply:
    fields = base.get(key, Fields) or {}
    gone = [name for name in names if fields.pop(name, None) is not None]
    base.drop_if_empty(key)
    if gone:
        base.wrote(b"HDEL", key, *gone)
    return len(gone)


def _hincrby(base: Database, key: Word, name: Word, by: Word) -> Reply:
    number = int(_hget(base, key, name) or 0) + int(by)
    _hset(base, key, name, b"%d" % number)
    return number


def _sadd(base: Database, key: Word, *members: Word) -> Reply:
    there = base.get(key, Set, new=True)
    new = [member for member in dict.fromkeys(members) if member not in there]
    there.update(dict.fromkeys(new))
    if new:
        base.wrote(b"SADD", key, *new)
    return len(new)


def _srem(base: Database, key: Word, *members: Word) -> Reply:
    there = base.get(key, Set) or {}
    gone = [member for member in members if member in there]
    for member in gone:
        del there[member]
    base.drop_if_empty(key)
    if gone:
        base.wrote(b"SREM", key, *gone)
    return len(gone)


def _smismember(base: Database, key: Word, *members: Word) -> Reply:
    there = base.get(key, Set) or {}
    return [int(member in there) for member in members]


def _rpush(base: Database, key: Word, *values: Word) -> Reply:
    there = base.get(key, List, new=True)
    there.extend(values)
    base.wrote(b"RPUSH", key, *values)
    return len(there)


def _lindex(base: Database, key: Word, index: Word) -> Reply:
    there, at = base.get(key, List) or [], int(index)
    return there[at] if -len(there) <= at < len(there) else None


def _lset(base: Database, key: Word, index: Word, value: Word) -> Reply:
    base.get(key, List)[int(index)] = value
    base.wrote(b"LSET", key, index, value)
    return b"OK"


def _ltrim(base: Database, key: Word, first: Word, last: Word) -> Reply:
    there = base.get(key, List)
    if there is not None:
        there[:] = there[int(first) : (int(last) + 1) or None]
        base.drop_if_empty(key)
        base.wrote(b"LTRIM", key, first, last)
    return b"OK"


def _bound(text: Word) -> tuple[float, bool]:
    return float(text.lstrip(b"(")), text.startswith(b"(")


def _within(score: float, low: Word, high: Word) -> bool:
    (least, is_more), (most, is_less) = _bound(low), _bound(high)
    return (score > least if is_more else score >= least) and (score < most if is_less else score <= most)


def _zadd(base: Database, key: Word, *pairs: Word) -> Reply:
    is_greater = pairs[0] == b"GT"
    pairs = pairs[is_greater:]
    there, count = base.get(key, ScoredSet, new=True), 0
    for score, member in zip(pairs[::2], pairs[1::2], strict=True):
        count += member not in there
        there[member] = max(float(score), there.get(member, float(score))) if is_greater else float(score)
    base.wrote(b"ZADD", key, *[part for member in pairs[1::2] for part in (_number(there[member]), member)])
    return count


def _number(value: float) -> bytes:
    return b"%d" % int(value) if value == int(value) else b"%.17g" % value


def _zrem(base: Database, key: Word, *members: Word) -> Reply:
    there = base.get(key, ScoredSet) or {}
    gone = [member for member in members if there.pop(member, None) is not None]
    base.drop_if_empty(key)
    if gone:
        base.wrote(b"ZREM", key, *gone)
    return len(gone)


def _zcount(base: Database, key: Word, low: Word, high: Word) -> Reply:
    return sum(_within(score, low, high) for score in (base.get(key, ScoredSet) or {}).values())


def _zrange(base: Database, key: Word, first: Word, last: Word, *options: Word) -> Reply:
    ordered = (base.get(key, ScoredSet) or ScoredSet()).ordered()
    found = ordered[int(first) :][: None if last == b"-1" else int(last) + 1 - int(first)]
    if b"WITHSCORES" in options:
        return [part for score, member in found for part in (member, b"%d" % int(score))]
    return [member for _, member in found]


def _zrangebyscore(base: Database, key: Word, low: Word, high: Word, *options: Word) -> Reply:
    ordered = (base.get(key, ScoredSet) or ScoredSet()).ordered()
    found = [member for score, member in ordered if _within(score, low, high)]
    return found[: int(options[2])] if options else found  # LIMIT 0 n


def _zremrangebyscore(base: Database, key: Word, low: Word, high: Word) -> Reply:
    found = _zrangebyscore(base, key, low, high)
    return _zrem(base, key, *found) if found else 0


def _zremrangebyrank(base: Database, key: Word, first: Word, last: Word) -> Reply:
    found = [member for _, member in (base.get(key, ScoredSet) or ScoredSet()).ordered()]
    gone = found[int(first) : (int(last) + 1) or None]
    return _zrem(base, key, *gone) if gone else 0


def _xadd(base: Database, key: Word, *words: Word) -> Reply:
    skipped = 3 if words[0] == b"MAXLEN" else 0  # a thousand entries are never reached here
    asked, fields, there = words[skipped], words[skipped + 1 :], base.get(key, Stream, new=True)
    identity = asked
    if asked == b"*":
        last = _stream_id(there[-1][0]) if there else (0, 0)
        found = max((base.clock(), 0), (last[0], last[1] + 1))
        identity = b"%d-%d" % found
    there.append((identity, fields))
    base.wrote(b"XADD", key, identity, *fields)
    return identity


def _stream_id(text: bytes) -> tuple[int, int]:
    first, _, second = text.partition(b"-")
    return int(first), int(second or 0)


def _xdel(base: Database, key: Word, *ids: Word) -> Reply:
    there = base.get(key, Stream) or Stream()
    there[:] = [entry for entry in there if entry[0] not in ids]
    base.wrote(b"XDEL", key, *ids)
    return len(ids)


def _xrevrange(base: Database, key: Word, high: Word, low: Word, *options: Word) -> Reply:
    most = (2**63, 0) if high == b"+" else _stream_id(high.lstrip(b"("))
    least = (0, 0) if low == b"-" else _stream_id(low)
    found = [
        [identity, list(fields)]
        for identity, fields in reversed(base.get(key, Stream) or Stream())
        if least <= _stream_id(identity) <= most and not (high.startswith(b"(") and _stream_id(identity) == most)
    ]
    return found[: int(options[1])] if options else found


def _scan(base: Database, _: Word, *options: Word) -> Reply:
    words = [option.upper() for option in options]
    pattern = options[words.index(b"MATCH") + 1] if b"MATCH" in words else b"*"
    return [b"0", [key for key in base.names() if fnmatch.fnmatchcase(key, pattern)]]


def _values_of(kind: type, read: Callable[[Any], Reply]) -> Callable[..., Reply]:
    return lambda base, key: read(base.get(key, kind) or kind())


COMMANDS: dict[bytes, Callable[..., Reply]] = {
    b"DEL": _delete,
    b"EXISTS": _exists,
    b"EXPIRE": _expire,
    b"GET": _get,
    b"HDEL": _hdel,
    b"HGET": _hget,
    b"HGETALL": _hgetall,
    b"HINCRBY": _hincrby,
    b"HKEYS": _values_of(Fields, list),
    b"HLEN": _values_of(Fields, len),
    b"HMGET": _hmget,
    b"HSET": _hset,
    b"HSETNX": _hsetnx,
    b"HSTRLEN": lambda base, key, name: len(_hget(base, key, name) or b""),
    b"HVALS": _values_of(Fields, lambda fields: list(fields.values())),
    b"INFO": lambda base, *_: b"used_memory:1\r\nmaxmemory:0\r\nredis_version:7.2.0\r\n",
    b"LINDEX": _lindex,
    b"LSET": _lset,
    b"LTRIM": _ltrim,
    b"MGET": lambda base, *keys: [base.text(key) for key in keys],
    b"PEXPIRE": _pexpire,
    b"PEXPIREAT": _pexpireat,
    b"PTTL": _pttl,
    b"RENAME": _rename,
    b"RPUSH": _rpush,
    b"SADD": _sadd,
    b"SCAN": _scan,
    b"SET": _set,
    b"SETRANGE": _setrange,
    b"SISMEMBER": lambda base, key, member: _smismember(base, key, member)[0],
    b"SMEMBERS": _values_of(Set, list),
    b"SMISMEMBER": _smismember,
    b"SRANDMEMBER": lambda base, key, most: list(base.get(key, Set) or {})[: int(most)],
    b"SREM": _srem,
    b"TIME": _time,
    b"UNLINK": _delete,
    b"XADD": _xadd,
    b"XDEL": _xdel,
    b"XREVRANGE": _xrevrange,
    b"ZADD": _zadd,
    b"ZCOUNT": _zcount,
    b"ZRANGE": _zrange,
    b"ZRANGEBYSCORE": _zrangebyscore,
    b"ZREM": _zrem,
    b"ZREMRANGEBYRANK": _zremrangebyrank,
    b"ZREMRANGEBYSCORE": _zremrangebyscore,
}


@cache
def runtime() -> Any:
    """Return the one Lua 5.1 of all databases, as Redis has it."""
    made = lua.LuaRuntime(encoding=None, unpack_returned_tuples=True, register_eval=False)
    made.execute(
        b"""
        NULL = {}
        cjson = { null = NULL }
        redis = { call = function(...) return call_redis(...) end, pcall = function(...) return call_redis(...) end }
        redis.log, redis.LOG_WARNING = function() end, 3
        """
    )
    globals_ = made.globals()
    globals_[b"cjson"][b"decode"] = lambda text: _builder(text)()
    globals_[b"cjson"][b"encode"] = lambda value: json.dumps(_to_json(made, value), separators=(",", ":")).encode()
    return made


def forget_database() -> None:
    """Let the Lua of all databases know the last one no longer; its own collector holds it until then."""
    runtime().globals()[b"call_redis"] = None
    runtime().execute(b"collectgarbage()")


@cache
def compiled(source: bytes) -> tuple[Any, Any]:
    """Return the runtime, and the script as a function of KEYS and ARGV."""
    made = runtime()
    body = source.partition(b"\n")[2] if source.startswith(b"#!") else source
    return made, made.execute(b"return function(KEYS, ARGV)\n" + body + b"\nend")


def _to_word(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return _number(value)


def _to_lua(made: Any, reply: Reply) -> Any:
    if reply is None:
        return False
    if isinstance(reply, list):
        return made.table_from([_to_lua(made, one) for one in reply])
    return reply


def _to_reply(value: Any) -> Reply:
    """Return what Redis makes of a script's value: a table ends at its first nil, a number loses its fraction."""
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, bytes):
        return value
    if isinstance(value, int | float):
        return int(value)
    items: list[Reply] = []
    while (one := value[len(items) + 1]) is not None:
        items.append(_to_reply(one))
    return items


@lru_cache(maxsize=10_000)
def _builder(text: bytes) -> Any:
    """Return a Lua function that builds what a JSON text says: most texts are read again and again."""
    return runtime().execute(b"return function() return " + _literal(json.loads(text)) + b" end")


def _literal(value: Any) -> bytes:
    if value is None:
        return b"NULL"
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int | float):
        return repr(value).encode()
    if isinstance(value, str):
        return b'"' + b"".join(b"\\%03d" % byte for byte in value.encode()) + b'"'
    if isinstance(value, list):
        return b"{" + b",".join(map(_literal, value)) + b"}"
    return b"{" + b",".join(b"[" + _literal(name) + b"]=" + _literal(one) for name, one in value.items()) + b"}"


def _to_json(made: Any, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if value == made.globals()[b"NULL"]:
        return None
    names = list(value.keys())
    if names and all(isinstance(name, int) for name in names):
        return [_to_json(made, value[number]) for number in range(1, len(names) + 1)]
    return {name.decode(): _to_json(made, value[name]) for name in names}
