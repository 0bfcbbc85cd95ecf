"""`gateway token import`, against a real Redis."""

from hashlib import sha256
from pathlib import Path

import pytest
import redis

from gateway.core.tokens.text import digest
from tests.support.admitting import admit
from tests.support.command_line import CREATE, run_command, run_json
from tests.support.policies import SMALL

pytestmark = pytest.mark.redis

IMPORT = ("token", "import", "--policy", "small", "--project", "website", "--name", "Old CI")


@pytest.fixture
def open_where(where: tuple[str, ...]) -> tuple[str, ...]:
    """As `where`, with a policy that accepts tokens that were minted elsewhere."""
    Path(where[3], "small.toml").write_text(SMALL.replace('["sml_"]', '["sml_", "old-"]\nchecksum = false'))
    return where


def test_a_text_is_imported_and_not_kept(open_where: tuple[str, ...]) -> None:
    """The token works as it did; Redis has its digest and its beginning, nothing has the text."""
    text = "old-0123456789abcdefghijkl"
    imported = run_json(
        *IMPORT, "--scope", "read", "--expires", "1d", "--text-stdin", *open_where, stdin=b"%s\n" % text.encode()
    )
    assert "active" == imported["state"]
    assert text[:12] == imported["shown"]
    assert ["read"] == imported["scopes"]
    assert digest(text, b"")[:24] == imported["id"]
    assert [True] == [facts.is_charged for facts in admit(open_where[1], [text])]
    with redis.Redis.from_url(open_where[1], decode_responses=True) as client:
        stored = "".join(f"{key} {client.get(key)}" for key in client.keys("*token:*"))
    assert text[:13] not in stored
    assert text[:13] not in f"{imported}"


def test_a_text_with_a_byte_order_mark_is_the_text(open_where: tuple[str, ...]) -> None:
    """Shells and editors that put one before what they write mean no part of the token by it."""
    imported = run_json(*IMPORT, "--text-stdin", *open_where, stdin=b"\xef\xbb\xbfold-0123456789\r\n")
    assert digest("old-0123456789", b"")[:24] == imported["id"]


def test_a_digest_is_imported(where: tuple[str, ...]) -> None:
    """With or without a beginning to show; and the pepper is spoken of."""
    texts = [run_json(*CREATE, *where)["token"] for _ in range(2)]
    with redis.Redis.from_url(where[1]) as client:
        client.flushall()  # as if they had been minted elsewhere
    digests = [sha256(text.encode()).hexdigest() for text in texts]
    shown = run_json(*IMPORT, "--digest", digests[0].upper(), "--shown", texts[0][:8], *where)
    assert texts[0][:8] == shown["shown"]
    assert digests[0][:24] == shown["id"]
    done = run_command(*IMPORT, "--digest", digests[1], *where)
    assert f"Imported token {digests[1][:24]} (Old CI).\n" == done.stdout
    assert "same pepper" in done.stderr
    assert [True, True] == [facts.is_charged for facts in admit(where[1], texts)]


def test_a_text_is_digested_under_the_pepper(open_where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is a variable of the environment, as for `create`."""
    monkeypatch.setenv("GATEWAY_TOKEN_PEPPER", "salt")
    imported = run_json(*IMPORT, "--text-stdin", *open_where, stdin=b"old-0123456789")
    assert digest("old-0123456789", b"salt")[:24] == imported["id"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "it is empty"),
        (b"other_0123", "it does not begin with sml_"),
        (b"sml_tooshort", "it does not have 40 characters after its prefix"),
        (b"sml_" + b"0" * 40, "its checksum does not fit"),
        (b"sml_" + b"0" * 600, "it is longer than 512 characters"),
    ],
)
def test_what_could_never_be_accepted_is_refused(where: tuple[str, ...], text: bytes, message: str) -> None:
    """With the reason, without the text, and nothing is stored."""
    refused = run_command(*IMPORT, "--text-stdin", *where, stdin=text)
    said = f"{refused.output}{refused.exception}"
    assert refused.exit_code != 0
    assert message in said
    assert not text or text.decode() not in said
    assert [] == run_json("token", "list", *where[:2])


@pytest.mark.parametrize("is_revoked", [False, True])
def test_what_is_there_or_revoked_is_not_imported(where: tuple[str, ...], is_revoked: bool) -> None:
    """Neither by its text nor by its digest; the token stays what it was."""
    created = run_json(*CREATE, *where)
    if is_revoked:
        run_json("token", "revoke", created["id"], *where[:2])
    by_text = run_command(*IMPORT, "--text-stdin", *where, stdin=created["token"].encode())
    by_digest = run_command(*IMPORT, "--digest", digest(created["token"], b""), *where)
    for refused in (by_text, by_digest):
        assert ("was revoked, for good" if is_revoked else "exists already") in str(refused.exception)
    (listed,) = run_json("token", "list", *where[:2])
    assert "CI" == listed["name"]
    assert ("revoked" if is_revoked else "active") == listed["state"]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--digest", "0" * 64, "--text-stdin"),
        ("--text-stdin", "--shown", "sml_"),
        ("--digest", "0" * 63),
        ("--digest", "g" * 64),
        ("--digest", "0" * 64, "--shown", "sml_01234567x"),
        ("--digest", "0" * 64, "--shown", "a\nb"),
        ("--digest", "0" * 64, "--scope", "raed"),
        ("--digest", "0" * 64, "--project", ""),
    ],
)
def test_mistakes_import_nothing(where: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Neither way or both, no digest, too much to show, what the policy does not know."""
    assert 0 != run_command(*IMPORT, *options, *where, stdin=b"x").exit_code
    assert [] == run_json("token", "list", *where[:2])
