"""The URL of a store behind Sentinels: what it says, and that its password is shown nowhere."""

import pytest

from gateway.core.store_url import is_behind_sentinels, parse_sentinel_url
from gateway.settings import Settings, describe_store


def test_what_the_url_says() -> None:
    """Several hosts, with ports or the usual one; the rest is what redis-py reads."""
    store = parse_sentinel_url(
        "rediss+sentinel://me:s3%40cret@a.example:5000,[fd00::1],10.0.0.3/tokens/2?client_name=g"
    )
    assert (("a.example", 5000), ("fd00::1", 26379), ("10.0.0.3", 26379)) == store.sentinels
    assert "tokens" == store.service
    assert "rediss://me:s3%40cret@tokens/2?client_name=g" == store.url


def test_user_and_database_may_be_left_out() -> None:
    store = parse_sentinel_url("redis+sentinel://a/tokens")
    assert "redis://tokens/0" == store.url


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://me:s3cret@a,b",
        "redis+sentinel://me:s3cret@a,b/",
        "redis+sentinel://me:s3cret@a,,b/tokens/0",
        "redis+sentinel://me:s3cret@a/tokens/x",
        "redis+sentinel://me:s3cret@a/tokens/0/1",
    ],
)
def test_another_form_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"redis\+sentinel://HOST1") as refused:
        parse_sentinel_url(url)
    assert "s3cret" not in str(refused.value)


def test_no_description_has_the_password() -> None:
    """Neither the ready line's words nor a repr."""
    url = "redis+sentinel://me:s3cret@a,b:1/tokens/0"
    assert is_behind_sentinels(url)
    shown = (
        describe_store(url),
        repr(parse_sentinel_url(url)),
        repr(Settings(redis_url=url, sentinel_password="s3cret")),
    )
    assert "s3cret" not in str(shown)
    assert "Redis tokens of the Sentinels a:26379, b:1" == shown[0]
