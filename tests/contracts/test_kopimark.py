"""KopiMark's published promises, kept by policies/kopimark.toml alone: contract rows K1 to K11 over HTTP."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contracts.conftest import Commands
from tests.contracts.product import Product, dump
from tests.support.client import Answer, ask
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer, wait_until

PATH = "/api/v1/projects/website/export"
TEXTS: dict[str, dict[str, Any]] = {
    "n_81": {"key": "home.hero.headline", "status": "shipped", "values": {"de": "Willkommen", "en": "Welcome"}},
    "n_82": {"key": "cart.items", "status": "approved", "values": {"de": {"one": "{n} Artikel"}, "fr": "{n} articles"}},
    "n_97": {"status": "shipped", "values": {"en": "Unnamed"}},
    "n_98": {"key": "secret", "status": "draft", "values": {"en": "Not yet"}},
}


@pytest.fixture
def product(running: Product) -> Product:
    """The product as it was at first: one document of texts, which an editor may change."""
    product = running.forget()
    product.content = document(TEXTS)
    return product


@pytest.fixture
def port(gateway: GatewayServer) -> int:
    return gateway.port


def document(texts: dict[str, dict[str, Any]]) -> Any:
    return {"entries": [{"id": identity, **entry} for identity, entry in texts.items()]}


@pytest.fixture
def token(tokens: Commands) -> str:
    """A token of the project `website`."""
    return create(tokens, "website")["token"]


def create(tokens: Commands, project: str) -> dict[str, str]:
    where = ("--policy", "kopimark", "--project", project, "--name", "CI", *tokens.options, *tokens.policies)
    created: dict[str, str] = run_json("token", "create", *where)
    return created


def pull(port: int, query: str, token: str | None, *fields: tuple[str, str], method: str = "GET") -> Answer:
    return ask(port, method, f"{PATH}?{query}", token=token, host="api.kopimark.com", fields=fields)


def tag_of(answer: Answer) -> str:
    return answer.field("etag") or ""


def test_K1_a_token_reads_one_project_only(port: int, product: Product, tokens: Commands, token: str) -> None:
    """Another project's export is refused, also while it is in the cache."""
    assert 200 == pull(port, "", token).status
    other = create(tokens, "app")["token"]
    assert 403 == pull(port, "", other).status
    assert 1 == len(product.asked)


def test_K2_a_tokens_text_is_shown_once(port: int, product: Product, tokens: Commands) -> None:
    """At creation; afterwards there are its prefix, name and dates: in lists, in what is shown of it, and in Redis."""
    created = create(tokens, "website")
    text, options = created["token"], tokens.options
    assert 200 == pull(port, "lang=de", text).status
    (listed,) = run_json("token", "list", "--policy", "kopimark", "--project", "website", *options)
    shown = run_json("token", "show", created["id"], *options)
    assert text[:12] == listed["shown"]
    assert "CI" == listed["name"]
    assert listed.get("token") is None
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", listed[date]) for date in ("created_at", "last_used_at")
    )
    changed = run_json("token", "update", created["id"], "--name", "CD", *options, *tokens.policies)
    assert "CD" == changed["name"]
    everything = "".join([str([listed, shown, changed]), *dump(tokens.redis_url)])
    assert text[:12] in everything
    assert text[12:] not in everything


def test_K3_a_token_is_rotated_without_downtime(port: int, product: Product, tokens: Commands, token: str) -> None:
    """Any number of tokens is live at once, and all share what is stored: the new one has the old one's 304."""
    tag = tag_of(pull(port, "lang=de", token))
    others = [create(tokens, "website") for _ in range(4)]
    for other in (*(one["token"] for one in others), token):
        assert 304 == pull(port, "lang=de", other, ("If-None-Match", tag)).status
    tokens.revoke(others[0]["id"])
    statuses = [pull(port, "lang=de", one["token"], ("If-None-Match", tag)).status for one in others]
    assert [401, 304, 304, 304] == statuses
    assert 1 == len(product.asked)


def test_K4_the_credential_is_a_bearer_token_and_nothing_else(port: int, product: Product, token: str) -> None:
    """In the query, in another field or under another scheme it opens nothing, also not what is in the cache."""
    assert 200 == pull(port, "", token).status
    missing = pull(port, "", None)
    assert 401 == missing.status
    assert 'Bearer realm="kopimark"' == missing.field("www-authenticate")
    for field in (("X-API-Key", token), ("Authorization", token), ("Authorization", f"Basic {token}")):
        assert 401 == pull(port, "", None, field).status
    assert 401 == pull(port, f"access_token={token}", None).status
    assert 200 == pull(port, "", None, ("Authorization", f"bearer {token}")).status


def test_K5_a_revoked_token_gets_401_also_for_a_stored_variant(
    port: int, product: Product, tokens: Commands, token: str
) -> None:
    """On the next request, on either worker, with or without the tag."""
    tag = tag_of(pull(port, "lang=de", token))
    (identity,) = [
        one["id"] for one in run_json("token", "list", "--policy", "kopimark", "--project", "website", *tokens.options)
    ]
    tokens.revoke(identity)
    assert {401} == {pull(port, "lang=de", token, ("If-None-Match", tag)).status for _ in range(8)}
    assert {401} == {pull(port, "", token, method="OPTIONS").status for _ in range(2)}


def test_K6_a_write_is_403_and_never_reaches_the_product(port: int, product: Product, token: str) -> None:
    """Whatever the method and the path."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert 403 == pull(port, "", token, method=method).status
    assert [] == product.asked


def test_K7_an_export_has_the_format_shape_language_and_status_that_are_asked_for(
    port: int, product: Product, token: str
) -> None:
    """All from one document: the product is asked once, by whichever worker comes first."""
    nested = {"cart": {"items": {"one": "{n} Artikel"}}, "home": {"hero": {"headline": "Willkommen"}}}
    assert nested == pull(port, "lang=de", token).json()
    flat = {"cart.items.one": "{n} Artikel", "home.hero.headline": "Willkommen"}
    assert flat == pull(port, "lang=de&shape=flat", token).json()
    assert {"home.hero.headline": "Welcome", "n_97": "Unnamed", "secret": "Not yet"} == (
        pull(port, "lang=en&shape=flat&status=shipped,draft", token).json()
    )
    assert b'{\n  "cart": {\n' in pull(port, "lang=de&pretty", token).content
    table = pull(port, "format=csv&lang=en", token)
    assert b'"key","en"\r\n"home.hero.headline","Welcome"\r\n"n_97","Unnamed"\r\n' == table.content
    assert "text/csv; charset=utf-8; header=present" == table.field("content-type")
    assert 'attachment; filename="website.en.csv"' == table.field("content-disposition")
    document = pull(port, "format=xml&lang=de", token)
    assert document.content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    assert {"de", "en", "fr"} == pull(port, "", token).json().keys()
    assert ["GET /api/v1/projects/website/translations/export"] == product.asked


@pytest.mark.parametrize(
    ("query", "option", "allowed"),
    [
        ("format=yaml", "format", ["json", "csv", "xml"]),
        ("status=ready", "status", ["draft", "review", "approved", "shipped"]),
        ("locale=de", "locale", ["format", "pretty", "shape", "lang", "status"]),
        ("lang=it", "lang", ["de", "en", "fr"]),
        ("shape=flat&shape=nested", "shape", ["nested", "flat"]),
    ],
)
def test_K7_an_unknown_name_or_value_is_400_that_lists_what_is_allowed(
    port: int, product: Product, token: str, query: str, option: str, allowed: list[str]
) -> None:
    """In problem details, one error for each option."""
    answer = pull(port, query, token)
    (error,) = answer.json()["errors"]
    assert 400 == answer.status
    assert option == error["option"]
    assert allowed == error["allowed"]


def test_K7_requests_that_mean_the_same_share_one_entry(port: int, product: Product, token: str) -> None:
    """Order, defaults and spelling make no other export: the second one is a hit."""
    first = pull(port, "lang=de,en&format=json&status=approved,shipped", token)
    second = pull(port, "status=shipped,approved,shipped&lang=en%2Cde&pretty=false", token)
    assert first.content == second.content
    assert tag_of(first) == tag_of(second)
    assert (second.field("cache-status") or "").startswith("gateway; hit; ttl=")


def test_K8_a_build_gets_304_while_nothing_has_changed_in_what_it_pulls(
    port: int, product: Product, token: str
) -> None:
    """French was edited: the German build has the newest export already, the French one gets the new one."""
    german, french = pull(port, "lang=de", token), pull(port, "lang=fr", token)
    assert tag_of(german).startswith('W/"')
    assert tag_of(german) != tag_of(french)
    assert 304 == pull(port, "lang=de", token, ("If-None-Match", tag_of(german))).status
    product.content = document(
        TEXTS | {"n_82": {**TEXTS["n_82"], "values": TEXTS["n_82"]["values"] | {"fr": "{n} objets"}}}
    )
    now = ("Cache-Control", "no-cache")
    same = pull(port, "lang=de", token, ("If-None-Match", tag_of(german)), now)
    new = pull(port, "lang=fr", token, ("If-None-Match", tag_of(french)), now)
    assert 304 == same.status
    assert b"" == same.content
    assert 200 == new.status
    assert {"cart": {"items": "{n} objets"}} == new.json()


def test_K8_many_builds_of_a_cold_variant_are_one_request(port: int, product: Product, token: str) -> None:
    """Forty at once, of three variants, over two workers."""
    queries = ["lang=de", "lang=en&format=csv", "format=xml"]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda number: pull(port, queries[number % 3], token), range(40)))
    assert {200} == {answer.status for answer in answers}
    assert 3 == len({answer.content for answer in answers})
    assert 1 == len(product.asked)


def test_K9_an_answer_that_the_client_has_costs_nothing(port: int, product: Product, token: str) -> None:
    """The fields say what is left: who caches keeps it, who asks for all of it again does not."""
    first = pull(port, "lang=de", token)
    assert '"minute";q=600;w=60' == first.field("ratelimit-policy")

    def left_is(count: int) -> bool:
        kept = pull(port, "lang=de", token, ("If-None-Match", tag_of(first)))
        return kept.status == 304 and (kept.field("ratelimit") or "").startswith(f'"minute";r={count};')

    for _ in range(3):
        wait_until(lambda: left_is(599), "what was reserved for a 304 has been given back")
    assert 200 == pull(port, "lang=de", token).status
    wait_until(lambda: left_is(598), "one whole export has cost one unit")


def test_K9_every_answer_tells_to_cache(port: int, product: Product, token: str) -> None:
    """A client keeps what it has and asks whether it is still so: of 200 and 304 alike, and each has the tag for it."""
    first = pull(port, "lang=de", token)
    for answer in (first, pull(port, "lang=de", token, ("If-None-Match", tag_of(first)))):
        assert "private, no-cache" == answer.field("cache-control")
        assert tag_of(first) == tag_of(answer)


def test_K9_a_thousand_builds_at_night_are_within_the_limit_and_polling_is_not(
    port: int, product: Product, token: str
) -> None:
    """Builds that send the tag are free; who asks for all of it each time meets 429, which says when to come back."""
    tag = tag_of(pull(port, "lang=de", token))

    def ask_many(count: int, *fields: tuple[str, str]) -> list[Answer]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: pull(port, "lang=de", token, *fields), range(count)))

    assert {304} == {answer.status for answer in ask_many(1000, ("If-None-Match", tag))}
    assert [200] * 599 + [429] == sorted(answer.status for answer in ask_many(600))
    refused = pull(port, "lang=de", token)
    assert 1 <= int(refused.field("retry-after") or 0) <= 66
    assert '"minute";r=0;t=' in (refused.field("ratelimit") or "")
    assert 1 == len(product.asked)


def test_K10_the_builder_gets_all_options_from_the_rule_itself(port: int, product: Product, token: str) -> None:
    """OPTIONS says the names, values, defaults and descriptions, and asks nothing of the product."""
    answer = pull(port, "", token, method="OPTIONS")
    offered = {option["name"]: option for option in answer.json()["options"]}
    assert ["format", "pretty", "shape", "lang", "status"] == list(offered)
    assert ["json", "csv", "xml"] == offered["format"]["values"]
    assert ["json"] == offered["format"]["default"]
    assert [] == product.asked


def test_K11_an_entry_goes_by_its_key_else_by_its_id(port: int, product: Product, token: str) -> None:
    """A key that is given later takes the place of the id; nothing else in the export moves."""
    before = pull(port, "shape=flat&lang=en", token).json()
    assert {"home.hero.headline": "Welcome", "n_97": "Unnamed"} == before
    product.content = document(dict(reversed(list((TEXTS | {"n_97": {**TEXTS["n_97"], "key": "home.badge"}}).items()))))
    after = pull(port, "shape=flat&lang=en", token, ("Cache-Control", "no-cache")).json()
    assert {"home.badge": "Unnamed", "home.hero.headline": "Welcome"} == after
