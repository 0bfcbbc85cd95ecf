"""Names in Redis: what people choose cannot make one name look like another."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.redis import keys

free_ids = st.text(alphabet=":%3A25tokens", max_size=12)


@given(free_ids, free_ids)
def test_no_owner_or_project_is_named_like_another(one: str, other: str) -> None:
    """Records and lists of two ids have four different names, also where an id has colons or ends like a list."""
    for list_of in (keys.owner_tokens, keys.project_tokens):
        assert (one == other) == (list_of("p", one) == list_of("p", other))
    assert (one == other) == (keys.owner("p", one) == keys.owner("p", other))
    assert keys.owner("p", one) != keys.owner_tokens("p", other)


def test_an_ordinary_id_is_in_the_name_as_it_is() -> None:
    """Who looks into Redis finds owners and projects by what they are called."""
    assert "gw1:owner:p:acme:tokens" == keys.owner_tokens("p", "acme")
    assert "gw1:project:p:a%3Ab:tokens" == keys.project_tokens("p", "a:b")
