"""Redis' clock, which has milliseconds."""

import redis

from tests.support.processes import wait_until


def wait_for_next_millisecond(redis_url: str) -> None:
    """Return in another millisecond than that of the last purge: what is fetched in the same one is not kept."""
    with redis.Redis.from_url(redis_url) as client:

        def now() -> int:
            seconds, microseconds = client.time()
            return int(seconds) * 1000 + int(microseconds) // 1000

        begun_at = now()
        wait_until(lambda: now() > begun_at, "a millisecond has gone by")
