"""Rules with variants, from head to response: the embedded store, scripted backends, all else real."""

import msgspec
import pytest

from gateway.core.cache import keys
from gateway.core.http.messages import Response, field_value
from gateway.core.policies.loading import load_policies
from gateway.core.variants.model import DocumentForm, InvalidOptions, Rendered, Variant
from tests.support.exchange_harness import NOW, field, ok, open_exchange
from tests.support.shaped import EXPORT, GERMAN, POLICY, TEXTS, change, document, status_of


async def test_one_request_to_the_backend_serves_all_variants() -> None:
    """The document is kept as an entry of its own: a second variant is made of it, whoever asks."""
    async with open_exchange(document(), policy=POLICY) as harness:
        first = await harness.ask(GERMAN)
        assert b'{"home":{"title":"Willkommen"}}\n' == first.content
        assert b"gateway; fwd=uri-miss; stored" == status_of(first)
        second = await harness.ask(f"{EXPORT}?format=csv&lang=en")
        assert b'"key","en"\r\n"home.title","Welcome"\r\n' == second.content
        assert status_of(second).startswith(b"gateway; hit")
        await harness.ask(f"{EXPORT}?format=xml")
        assert ["/internal/website"] == [sent.target for sent in harness.upstreams.sent]
        assert 3 == len({field(answer, b"etag") for answer in (first, second, await harness.ask(EXPORT))})


async def test_a_variant_spelled_differently_is_the_same_entry() -> None:
    """Order, defaults that are said, repeated elements and percent-encoding make no other entry."""
    async with open_exchange(document(), policy=POLICY) as harness:
        first = await harness.ask(f"{EXPORT}?lang=de,en&format=json")
        again = await harness.ask(f"{EXPORT}?pretty=false&format=json&lang=en%2Cde,en")
        assert first.content == again.content
        assert field(first, b"etag") == field(again, b"etag")
        assert b"gateway; hit; ttl=60" == status_of(again)


async def test_a_variant_is_no_fresher_than_its_document() -> None:
    """Made 40 seconds after its document came, it is fresh for 20 seconds more."""
    ages = [(b"age", b"600"), (b"date", b"Sat, 21 Nov 2020 06:00:00 GMT")]  # the rule's time stands in their place
    async with open_exchange(document(TEXTS, *ages), document(change(en="Hello")), policy=POLICY) as harness:
        await harness.ask(GERMAN)
        harness.now = NOW + 40_000
        await harness.ask(f"{EXPORT}?lang=en")
        harness.now = NOW + 59_000
        assert b"gateway; hit; ttl=1" == status_of(await harness.ask(f"{EXPORT}?lang=en"))
        harness.now = NOW + 61_000
        assert b"gateway; fwd=stale" in status_of(await harness.ask(f"{EXPORT}?lang=en"))
        assert 2 == len(harness.upstreams.sent)


async def test_a_variant_has_no_more_of_the_backends_time_than_its_document() -> None:
    """The backend's max-age counts from when it made the document, wherever that was since."""
    says = [(b"cache-control", b"max-age=100"), (b"age", b"50")]
    policy = POLICY.replace('fresh = "1m", stale_if_error = "1h"', 'keep = "1h"')
    async with open_exchange(document(TEXTS, *says), policy=policy) as harness:
        await harness.ask(GERMAN)
        harness.now = NOW + 20_000
        await harness.ask(f"{EXPORT}?lang=en")
        assert b"gateway; hit; ttl=30" == status_of(await harness.ask(f"{EXPORT}?lang=en"))


async def test_a_german_build_gets_304_when_only_french_changed() -> None:
    """The tag is the variant's own: another document, the same German export."""
    async with open_exchange(document(), document(change(fr="Salut")), policy=POLICY) as harness:
        tags = {lang: field(await harness.ask(f"{EXPORT}?lang={lang}"), b"etag") or b"" for lang in ("de", "fr")}
        harness.now = NOW + 61_000
        german = await harness.ask(GERMAN, (b"if-none-match", tags["de"]))
        french = await harness.ask(f"{EXPORT}?lang=fr", (b"if-none-match", tags["fr"]))
        assert 304 == german.head.status
        assert b"" == german.content
        assert 200 == french.head.status
        assert b'{"home":{"title":"Salut"}}\n' == french.content
        assert 2 == len(harness.upstreams.sent)


class NoRenderer:
    """Renders nothing."""

    async def render(self, content: bytes, form: DocumentForm, variant: Variant) -> Rendered | InvalidOptions:
        """What must not be called."""
        raise AssertionError("this was rendered")


async def test_a_stale_variant_of_an_unchanged_document_is_freshened_without_rendering(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The backend says 304 to its own tag; the stored variant is good for as long again."""
    async with open_exchange(document(TEXTS, etag=b'"v1"'), ok(status=304, content=b""), policy=POLICY) as harness:
        first = await harness.ask(GERMAN)
        harness.now = NOW + 61_000
        monkeypatch.setattr(harness.renderer, "render", NoRenderer().render)
        again = await harness.ask(GERMAN)
        assert first.content == again.content
        assert b"gateway; fwd=stale; fwd-status=304; stored" == status_of(again)
        assert b'"v1"' == field_value(harness.upstreams.sent[1].fields, b"if-none-match")
        harness.now = NOW + 120_000
        assert b"gateway; hit; ttl=1" == status_of(await harness.ask(GERMAN))


async def test_another_policy_for_the_same_document_makes_other_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made under names that the policy no longer has is not given out."""
    async with open_exchange(document(), policy=POLICY) as harness:
        await harness.ask(GERMAN)
        named = POLICY.replace('source = "/int', 'names = { entries = "data.nodes" }\nsource = "/int')
        harness.current = load_policies({"small.toml": named})
        assert 502 == (await harness.ask(GERMAN)).head.status


@pytest.mark.parametrize(
    ("query", "option", "allowed"),
    [
        ("colour=red", "colour", ["format", "shape", "pretty", "lang"]),
        ("format=yaml", "format", ["json", "csv", "xml"]),
        ("format=json&format=csv", "format", ["json", "csv", "xml"]),
        ("shape=%zz", None, ["format", "shape", "pretty", "lang"]),
        ("lang=it", "lang", ["de", "en", "fr"]),
    ],
)
async def test_an_option_that_is_not_offered_is_400_with_what_is(
    query: str, option: str | None, allowed: list[str]
) -> None:
    """Unknown, repeated and malformed ones, and a language that the document has not; it costs what a request costs."""
    async with open_exchange(document(), policy=POLICY) as harness:
        answer = await harness.ask(f"{EXPORT}?{query}")
        assert isinstance(answer.content, bytes)
        problem = msgspec.json.decode(answer.content)
        assert 400 == answer.head.status
        assert "invalid_option" == harness.records[0].reason
        (error,) = problem["errors"]
        assert option == error.get("option")
        assert allowed == error["allowed"]
        assert b'"minute";r=99;t=60' == field(answer, b"ratelimit")
        assert int(option == "lang") == len(harness.upstreams.sent)


async def test_an_error_format_says_what_is_allowed_in_its_own_words() -> None:
    """`{detail}` in a text of the policy's errors."""
    error_format = POLICY + '[errors]\n400 = { error = "Bad option: {detail}" }\n'
    async with open_exchange(policy=error_format) as harness:
        answer = await harness.ask(f"{EXPORT}?format=yaml")
        assert b'{"error":"Bad option: The option format must be one of json, csv, xml."}' == answer.content


async def test_head_is_as_get_without_content() -> None:
    """Also where nothing is stored: the variant is made, so that length and tag are true."""
    async with open_exchange(document(), policy=POLICY) as harness:
        head = await harness.ask(GERMAN.replace("GET", "HEAD"), (b"range", b"bytes=0-1"))
        whole = await harness.ask(GERMAN)
        stored = await harness.ask(GERMAN.replace("GET", "HEAD"))
        assert 200 == head.head.status
        assert b"" == head.content
        assert b"" == stored.content
        assert whole.content == whole.content
        for name in (b"etag", b"content-length", b"content-type", b"content-disposition"):
            assert field(head, name) == field(whole, name) == field(stored, name) is not None
        assert ["GET"] == [sent.method for sent in harness.upstreams.sent]


async def test_if_match_of_a_variant_is_evaluated_here() -> None:
    """Its tag is made here, and weak: nothing but the asterisk matches it strongly (RFC 9110 13.1.1)."""
    async with open_exchange(document(), policy=POLICY) as harness:
        tag = field(await harness.ask(GERMAN), b"etag") or b""
        answers = [await harness.ask(GERMAN, (b"if-match", value)) for value in (tag, b'"other"', b"*")]
        assert [412, 412, 200] == [answer.head.status for answer in answers]
        assert isinstance(answers[0].content, bytes)
        assert b'"code":"precondition_failed"' in answers[0].content
        assert 1 == len(harness.upstreams.sent)


async def test_options_tells_what_is_offered_to_whoever_may_have_it() -> None:
    """JSON, without the backend; the token is checked as for GET."""
    async with open_exchange(policy=POLICY.replace('[[rules]]\nmatch = "* /**"\n', "")) as harness:
        answer = await harness.ask("OPTIONS /texts/website/export")
        assert isinstance(answer.content, bytes)
        offer = msgspec.json.decode(answer.content)
        assert "/texts/{project}/export" == offer["path"]
        assert "translations" == offer["document"]
        assert ["format", "shape", "pretty", "lang"] == [option["name"] for option in offer["options"]]
        assert 200 == answer.head.status
        assert b"GET, HEAD, OPTIONS" == field(answer, b"allow")
        assert field(answer, b"ratelimit") is not None
        assert 401 == (await harness.ask("OPTIONS /texts/website/export", text=None)).head.status
        assert [] == harness.upstreams.sent


async def test_the_document_is_asked_for_without_what_one_client_would_like() -> None:
    """Nothing of the client's ranges, tags and codings; the gateway's own view of the directives, not the client's."""
    times = POLICY.replace('fresh = "1m", stale_if_error = "1h"', 'shared_by = "project"')
    says = [(b"cache-control", b"no-store"), (b"gateway-cache-control", b"max-age=10")]
    async with open_exchange(document(TEXTS, *says), policy=times) as harness:
        wishes = [(b"accept", b"text/csv"), (b"accept-encoding", b"br"), (b"range", b"bytes=0-1")]
        answer = await harness.ask(GERMAN, *wishes, (b"if-none-match", b'"x"'))
        sent = dict(harness.upstreams.sent[0].fields)
        assert b"application/json" == sent[b"accept"]
        assert b"identity" == sent[b"accept-encoding"]
        assert not {b"range", b"if-none-match"} & sent.keys()
        assert 206 == answer.head.status
        names = [name for name, _ in answer.head.fields]
        assert not {b"gateway-cache-control", b"gateway-source-etag", b"gateway-source-control"} & set(names)
        assert 1 == names.count(b"via")
        again = await harness.ask(GERMAN)
        assert b"gateway; hit; ttl=10" == status_of(again)


async def test_a_variant_does_not_vary_by_what_its_document_is_not_asked_with() -> None:
    """A backend that negotiates is asked for the document in one way: all clients share the variant."""
    vary = (b"vary", b"Accept, X-Audience, Accept-Language")
    answers = [document(TEXTS, vary, etag=b'"v1"') for _ in range(2)]
    async with open_exchange(*answers, ok(vary, status=304, content=b""), policy=POLICY) as harness:
        first = await harness.ask(GERMAN, (b"accept", b"application/json"), (b"accept-language", b"de"))
        again = await harness.ask(GERMAN, (b"accept", b"*/*"))
        assert b"gateway; hit" in status_of(again)
        assert [b"x-audience", b"x-audience"] == [field(answer, b"vary") for answer in (first, again)]
        other = await harness.ask(GERMAN, (b"x-audience", b"staff"))
        assert b"vary-miss" in status_of(other)
        harness.now = NOW + 61_000
        assert b"fwd-status=304" in status_of(await harness.ask(GERMAN))
        assert b"gateway; hit" in status_of(await harness.ask(GERMAN, (b"accept", b"*/*")))


async def test_another_version_of_the_renderers_uses_nothing_that_an_older_one_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an upgrade a variant is made again, of the document that is there."""
    async with open_exchange(document(), policy=POLICY) as harness:
        await harness.ask(GERMAN)
        monkeypatch.setattr(harness.renderer, "render", NoRenderer().render)
        assert 200 == (await harness.ask(GERMAN)).head.status
        monkeypatch.setattr(keys, "RENDERING", "next")
        with pytest.raises(AssertionError, match="this was rendered"):
            await harness.ask(GERMAN)
        assert 1 == len(harness.upstreams.sent)


DESIGN = """
[[rules]]
match = "GET /tokensets/{tokenset}/modes/{mode}/export"
scopes = ["read"]
cache = { fresh = "1m" }
[rules.variants]
document = "design-tokens"
source = "/internal/{tokenset}"
[rules.variants.options]
format = ["css", "json"]
mode = { parameter = "{mode}" }
"""


async def test_modes_in_the_path_are_variants_of_one_document() -> None:
    """Each has its own content and tag; a mode that the document lacks is a path at which there is nothing."""
    ink = {"name": "ink", "type": "color", "value": "#000000", "modes": {"dark": "#ffffff"}}
    tokens = msgspec.json.encode({"modes": ["light", "dark"], "tokens": [ink]})
    async with open_exchange(ok(content=tokens), policy=POLICY + DESIGN) as harness:
        light = await harness.ask("GET /tokensets/a/modes/light/export")
        dark = await harness.ask("GET /tokensets/a/modes/dark/export?format=css")
        assert b":root {\n  --ink: #000000;\n}\n" == light.content
        assert b":root {\n  --ink: #ffffff;\n}\n" == dark.content
        assert field(light, b"etag") != field(dark, b"etag")
        assert 404 == (await harness.ask("GET /tokensets/a/modes/dim/export")).head.status
        assert ["/internal/a"] == [sent.target for sent in harness.upstreams.sent]


async def test_modes_have_the_names_that_designers_give_them() -> None:
    """In the path and in the query, percent-encoded; what there is not is told with what there is."""
    own = {"name": "a", "type": "number", "value": 1, "modes": {"High contrast": 2, "Größe/100%": 3}}
    content = msgspec.json.encode({"modes": ["Mode 1", "High contrast", "Größe/100%"], "tokens": [own]})
    policy = POLICY + DESIGN + DESIGN.replace("/modes/{mode}", "").replace('{ parameter = "{mode}" }', "{}")
    async with open_exchange(ok(content=content), ok(content=content), policy=policy) as harness:
        first = await harness.ask("GET /tokensets/a/modes/Mode%201/export")
        assert b":root {\n  --a: 1;\n}\n" == first.content
        assert (
            b":root {\n  --a: 2;\n}\n" == (await harness.ask("GET /tokensets/a/modes/High%20contrast/export")).content
        )
        slashed = await harness.ask("GET /tokensets/a/modes/Gr%C3%B6%C3%9Fe%2F100%25/export")
        assert 400 == slashed.head.status
        assert isinstance(slashed.content, bytes)
        assert "an encoded slash" in slashed.content.decode()
        asked = await harness.ask("GET /tokensets/a/export?mode=Gr%C3%B6%C3%9Fe%2F100%25")
        assert b":root {\n  --a: 3;\n}\n" == asked.content
        refused = await harness.ask("GET /tokensets/a/export?mode=dark")
        assert 400 == refused.head.status
        assert isinstance(refused.content, bytes)
        assert "The option mode must be one of Mode 1, High contrast, Größe/100%." in refused.content.decode()


async def test_a_group_by_mode_ends_the_document_that_modes_share() -> None:
    """Its source names no mode, and it was asked for by another mode's request: the purged mode is made anew."""

    def tokens(dark: str) -> Response:
        ink = {"name": "ink", "type": "color", "value": "#000000", "modes": {"dark": dark}}
        return ok(content=msgspec.json.encode({"modes": ["light", "dark"], "tokens": [ink]}))

    grouped = DESIGN.replace('fresh = "1m"', 'fresh = "1m", groups = ["mode-{mode}"]')
    async with open_exchange(tokens("#ffffff"), tokens("#dddddd"), policy=POLICY + grouped) as harness:
        for mode in ("light", "dark"):
            await harness.ask(f"GET /tokensets/a/modes/{mode}/export")
        harness.now = NOW + 1000
        assert 2 == await harness.exports.purge("small", ["group:mode-dark"])
        harness.now = NOW + 2000
        dark = await harness.ask("GET /tokensets/a/modes/dark/export")
        light = await harness.ask("GET /tokensets/a/modes/light/export")
        assert b":root {\n  --ink: #dddddd;\n}\n" == dark.content
        assert b":root {\n  --ink: #000000;\n}\n" == light.content
        assert 2 == len(harness.upstreams.sent)


async def test_a_request_for_another_protocol_gets_the_variant() -> None:
    """A shaped rule has no tunnel to its backend: what asks for one is answered as it were not asked for."""
    async with open_exchange(document(), policy=POLICY) as harness:
        websocket = [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
        answer = await harness.ask(GERMAN, *websocket, upgrade=b"websocket")
        assert 200 == answer.head.status
        assert b'{"home":{"title":"Willkommen"}}\n' == answer.content
        assert b"upgrade" not in dict(harness.upstreams.sent[0].fields)
