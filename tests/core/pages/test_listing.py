"""Lists: searched, sorted and cut into pages."""

import msgspec
import pytest

from gateway.core.pages.token_list import PAGE_SIZE, SORTS, STATES, Listing, parse_listing, select
from gateway.core.tokens.changes import TokenState
from gateway.core.tokens.views import TokenView
from tests.support.policies import make_record


def view(name: str, state: TokenState = TokenState.ACTIVE, **changes: object) -> TokenView:
    record = make_record(f"sml_{name}", name=name, **changes)
    return TokenView(record=record, state=state, is_revoked=state is TokenState.REVOKED, stored=record)


def names(views: list[TokenView]) -> list[str]:
    return [one.record.name for one in views]


def test_every_word_must_be_found_somewhere() -> None:
    """In name, shown prefix, project, owner or scopes, in any case; or it begins the id."""
    views = [view("Deploy web", project="website"), view("deploy app", project="app")]
    views.append(view("nightly", project="app", scopes="deploy"))
    assert ["Deploy web"] == names(select(views, Listing(text="DEPLOY site")).rows)
    assert {"Deploy web", "deploy app", "nightly"} == set(names(select(views, Listing(text="deploy")).rows))
    assert ["nightly"] == names(select(views, Listing(text=views[2].identity[:8])).rows)
    assert [] == names(select(views, Listing(text=views[2].identity[4:])).rows)


def test_what_is_over_is_hidden_until_it_is_asked_for() -> None:
    """The first filter shows what lives; `all` shows all."""
    views = [view(str(state), state) for state in TokenState]
    assert {"active", "disabled", "not yet valid"} == set(names(select(views, Listing()).rows))
    assert {str(state) for state in TokenState} == set(names(select(views, Listing(state="all")).rows))
    assert ["revoked"] == names(select(views, Listing(state="revoked")).rows)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [("name", "a b c"), ("-name", "c b a"), ("created", "b c a"), ("used", "c a b"), ("expires", "c a b")],
)
def test_a_list_is_sorted_by_what_is_asked(sort: str, expected: str) -> None:
    """A token never used comes before all uses, one without end behind all ends."""
    views = [
        view("a", last_use=5, created_at=30, expires_at=100),
        view("b", last_use=9, created_at=10, expires_at=None),
        view("c", created_at=20, expires_at=50),
    ]
    assert expected.split() == names(select(views, Listing(sort=sort)).rows)


def test_pages_together_have_every_token_once() -> None:
    """Also where many are equal by what they are sorted by."""
    views = [view(f"token {number}", created_at=7) for number in range(3 * PAGE_SIZE + 1)]
    pages = [select(views, Listing(page=number)) for number in range(1, 5)]
    assert [PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, 1] == [len(page.rows) for page in pages]
    assert {one.identity for one in views} == {row.identity for page in pages for row in page.rows}
    assert 4 == pages[0].count
    assert 76 == pages[0].found
    assert 76 == pages[0].total


def test_a_page_beyond_the_last_is_the_last() -> None:
    """Tokens may have gone since the link was made."""
    page = select([view("a")], Listing(page=9))
    assert 1 == page.number
    assert 1 == len(page.rows)
    assert 1 == select(list[TokenView](), Listing(page=9)).number


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "²", "9" * 30])
def test_an_address_that_says_nonsense_reads_as_none(page: str) -> None:
    """Nothing that is typed into an address is an error."""
    listing = parse_listing("  a \n b ", "nonsense", "-nonsense", page)
    assert msgspec.structs.replace(Listing(text="a b"), page=listing.page) == listing
    assert 1 == select([view("a b")], listing).number


def test_every_sort_and_state_is_read_from_an_address() -> None:
    """Both directions of each."""
    assert set(SORTS) | {f"-{key}" for key in SORTS} == {
        parse_listing("", "", sort, "1").sort for key in SORTS for sort in (key, f"-{key}")
    }
    assert list(STATES) == [parse_listing("", state, "", "1").state for state in STATES]
