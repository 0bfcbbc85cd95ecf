"""The model of Redis that the simulation has, held to a real redis-server: same commands and scripts, same answers."""

from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gateway.adapters.redis.admissions import RedisAdmissions, _Waiting, build_question
from gateway.adapters.redis.connection import without_flags
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.tokens.records import encode_record
from gateway.core.tokens.text import token_id
from tests.simulation.database import Database, ReplyError
from tests.simulation.store import START
from tests.support.policies import make_record, rule_for

KEYS = st.sampled_from([b"a", b"b"])
WORDS = st.sampled_from([b"x", b"y", b"z", b"17"])
NUMBERS = st.integers(-3, 9).map(lambda number: b"%d" % number)
ENDS = st.sampled_from([b"-1", b"0", b"1", b"-2"])
COMMANDS = [
    st.tuples(st.just(b"SET"), KEYS, WORDS),
    st.tuples(st.just(b"SET"), KEYS, WORDS, st.just(b"NX")),
    st.tuples(st.just(b"SETRANGE"), KEYS, st.sampled_from([b"0", b"2", b"5"]), WORDS),
    *[st.tuples(st.just(name), KEYS) for name in (b"GET", b"DEL", b"EXISTS", b"HGETALL", b"HKEYS", b"HVALS", b"HLEN")],
    st.tuples(st.just(b"PTTL"), KEYS),
    st.tuples(st.just(b"MGET"), KEYS, KEYS),
    st.tuples(st.just(b"HSET"), KEYS, WORDS, WORDS),
    st.tuples(st.just(b"HSETNX"), KEYS, WORDS, WORDS),
    st.tuples(st.just(b"HGET"), KEYS, WORDS),
    st.tuples(st.just(b"HSTRLEN"), KEYS, WORDS),
    st.tuples(st.just(b"HMGET"), KEYS, WORDS, WORDS),
    st.tuples(st.just(b"HDEL"), KEYS, WORDS),
    st.tuples(st.just(b"SADD"), KEYS, WORDS, WORDS),
    st.tuples(st.just(b"SREM"), KEYS, WORDS),
    st.tuples(st.just(b"SISMEMBER"), KEYS, WORDS),
    st.tuples(st.just(b"SMISMEMBER"), KEYS, WORDS, WORDS),
    st.tuples(st.just(b"RPUSH"), KEYS, WORDS),
    st.tuples(st.just(b"LINDEX"), KEYS, ENDS),
    st.tuples(st.just(b"LTRIM"), KEYS, st.sampled_from([b"0", b"1"]), st.sampled_from([b"-1", b"1"])),
    st.tuples(st.just(b"ZADD"), KEYS, NUMBERS, WORDS),
    st.tuples(st.just(b"ZADD"), KEYS, st.just(b"GT"), NUMBERS, WORDS),
    st.tuples(st.just(b"ZREM"), KEYS, WORDS),
    st.tuples(
        st.just(b"ZCOUNT"), KEYS, st.sampled_from([b"-inf", b"(2", b"2"]), st.sampled_from([b"+inf", b"5", b"(5"])
    ),
    st.tuples(st.just(b"ZRANGE"), KEYS, st.just(b"0"), ENDS),
    st.tuples(st.just(b"ZRANGEBYSCORE"), KEYS, st.just(b"-inf"), NUMBERS),
    st.tuples(st.just(b"ZREMRANGEBYSCORE"), KEYS, st.just(b"-inf"), NUMBERS),
    st.tuples(st.just(b"XADD"), KEYS, NUMBERS.map(lambda number: b"%d-1" % (int(number) + 10)), WORDS, WORDS),
    st.tuples(st.just(b"XREVRANGE"), KEYS, st.just(b"+"), st.just(b"-")),
]
STEPS: SearchStrategy[list[tuple[bytes, ...]]] = st.lists(st.one_of(COMMANDS), max_size=25)


def answer_of(real: "redis.Redis", *words: bytes | str) -> Any:
    """The answer of a real server as it comes, an error by its first word."""
    connection = real.connection_pool.get_connection()
    try:
        connection.send_command(*words)  # type: ignore[no-untyped-call]  # redis-py's
        return connection.read_response()
    except redis.ResponseError as error:
        return type(error).__name__
    finally:
        real.connection_pool.release(connection)


def model_answer(database: Database, *words: bytes) -> Any:
    try:
        return database.run(*words)
    except ReplyError:
        return "ResponseError"


@pytest.mark.redis
@given(steps=STEPS)
@settings(max_examples=150)
def test_the_model_answers_as_redis_does(steps: list[tuple[bytes, ...]], redis_server: Any) -> None:
    """Each command of a sequence has the same answer, and what the log of writes makes is the same again."""
    database = Database(lambda: START)
    with redis.Redis.from_url(redis_server.url, protocol=2) as real:
        real.flushall()
        for words in steps:
            expected, actual = answer_of(real, *words), model_answer(database, *words)
            if words[0] in (b"HGETALL", b"HKEYS", b"HVALS") and isinstance(expected, list):
                expected, actual = sorted(expected), sorted(actual)  # neither promises an order
            if words[0] != b"XADD" or expected != "ResponseError":  # ids that go backwards: the gateway writes none
                assert expected == actual, words
            else:
                return
    again = Database(lambda: START, database.log)
    assert [again.run(b"EXISTS", key) for key in (b"a", b"b")] == [database.run(b"EXISTS", key) for key in (b"a", b"b")]
    assert again._values == database._values


@pytest.mark.redis
async def test_the_scripts_answer_as_in_redis(redis_server: Any) -> None:
    """The admission script charges and reports the same, request for request, until its quota is used up and after."""
    connection: Any = None
    admissions = RedisAdmissions(connection)
    source = admissions._idle[0].runner._script.source
    record = make_record("sml_0")
    database = Database(lambda: START)
    with redis.Redis.from_url(redis_server.url, protocol=2) as real:
        real.flushall()
        name = f"gw1:{{{record.digest[:2]}}}:token:{token_id(record.digest)}".encode()
        for run in (real.execute_command, database.run):
            run(b"SET", name, encode_record(record))
        for number in range(12):
            admissions.now = START + 400 * number
            asked = AdmissionRequest(rule_for("GET /export"), record.digest)
            waiting = _Waiting(build_question(asked), "", lambda now, reply: None, 0.0)
            keys, arguments = admissions._arguments([waiting], [])
            words = [one if isinstance(one, bytes) else str(one).encode() for one in (*keys, *arguments)]
            expected = answer_of(real, b"EVAL", without_flags(source), b"1", *words)
            assert expected == database.run_script(source.encode(), words[:1], words[1:])
