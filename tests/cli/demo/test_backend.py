"""What the example backend promises to the gateway in front of it and to tests that run it in-process."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise, product
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.cli.demo import design_tokens
from gateway.cli.demo.backend import SEED_TOKENSETS, create_backend
from gateway.cli.demo.design_tokens import MODES, DesignToken, Mode
from gateway.cli.demo.translations import PROJECT_KINDS, export_translations, known_languages

ACME = {"X-Gateway-Owner": "acme"}
GLOBEX = {"X-Gateway-Owner": "globex"}
EXPORT = "/api/v1/tokensets/acme-core/modes/light/export"
TRANSLATIONS = "/api/v1/projects/website/translations/export"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

READABLE = [
    "/healthz",
    "/api/v1/workspaces",
    "/api/v1/workspaces/brand",
    "/api/v1/workspaces/brand/tokensets",
    "/api/v1/tokensets/acme-core",
    "/api/v1/tokensets/acme-core/tokens",
    EXPORT,
    EXPORT + "?format=css",
    EXPORT + "?format=xml",
    TRANSLATIONS,
    "/api/v1/nowhere",
]


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    with TestClient(create_backend(now=lambda: NOW)) as client:
        yield client


async def call_asgi(app: Litestar, scope: Any) -> bytes:
    """The content of an answer, without the test client, which joins repeated fields into one."""
    contents: list[bytes] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        contents.append(message.get("body", b""))

    await app(scope, receive, send)
    return b"".join(contents)


def css_properties(sheet: str) -> dict[str, str]:
    return dict(re.findall(r"(--[a-z0-9-]+): (.+);", sheet))


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    channels = [channel / 255 for channel in bytes.fromhex(color[1:])]
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("target", [TRANSLATIONS, EXPORT, EXPORT + "?format=css"])
def test_export_gives_the_same_bytes_from_every_fresh_backend(target: str) -> None:
    """An export depends on the content alone: asked twice, of two backends, it is the same bytes."""
    contents: list[bytes] = []
    for _ in range(2):
        with TestClient(create_backend()) as client:
            contents += [client.get(target, headers=ACME).content for _ in range(2)]

    assert len(set(contents)) == 1


def test_translations_are_the_same_bytes_in_another_process() -> None:
    """Neither the hash seed nor the process shows in a canonical document."""
    module = "gateway.cli.demo.translations"
    program = f"import sys, {module} as it; sys.stdout.buffer.write(it.export_translations('app'))"
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    ).stdout

    assert sha256(export_translations("app")).hexdigest() == sha256(printed).hexdigest()


@pytest.mark.parametrize("project", [*PROJECT_KINDS])
def test_a_project_has_hundreds_of_entries_with_unique_ids_and_mostly_keys(project: str) -> None:
    """Ids identify, every status occurs, and a few percent of the entries have no key."""
    entries = json.loads(export_translations(project))["entries"]
    keys = [entry["key"] for entry in entries if "key" in entry]

    assert len(entries) > 800
    assert len(entries) == len({entry["id"] for entry in entries})
    assert len(keys) == len(set(keys))
    assert 0.01 < 1 - len(keys) / len(entries) < 0.08
    assert {"draft", "review", "approved", "shipped"} == {entry["status"] for entry in entries}


def test_languages_restrict_the_values_in_any_order(client: TestClient[Litestar]) -> None:
    """`lang` selects languages; their order and repetition change nothing."""
    one = client.get(TRANSLATIONS + "?lang=de&lang=fr", headers=ACME)
    other = client.get(TRANSLATIONS + "?lang=fr&lang=de&lang=fr", headers=ACME)
    by_key = {entry.get("key"): entry["values"] for entry in one.json()["entries"]}

    assert one.content == other.content
    assert one.json()["languages"] == ["de", "fr"]
    assert by_key["territory.FR"] == {"de": "Frankreich", "fr": "France"}


def test_every_language_of_cldr_can_be_asked_for_and_no_other(client: TestClient[Litestar]) -> None:
    """Hundreds of languages are there; an unknown one is refused by name."""
    refused = client.get(TRANSLATIONS + "?lang=de&lang=xx-invented", headers=ACME)

    assert len(known_languages()) > 500
    assert (refused.status_code, refused.json()) == (400, {"error": "unknown language: xx-invented"})


def test_translations_are_for_the_project_named_or_its_owner(client: TestClient[Litestar]) -> None:
    """A project's document is for itself and its owner; to others it is as absent as one that never was."""
    invented = client.get("/api/v1/projects/invented/translations/export", headers=ACME)
    refused = [
        client.get(TRANSLATIONS, headers=fields) for fields in ({}, GLOBEX, {"X-Gateway-Project": "app"})
    ]

    assert client.get(TRANSLATIONS, headers=ACME).status_code == 200
    assert client.get(TRANSLATIONS, headers={"X-Gateway-Project": "website"}).status_code == 200
    assert {(404, invented.content)} == {(answer.status_code, answer.content) for answer in refused}


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/api/v1/workspaces/{}", None),
        ("PATCH", "/api/v1/workspaces/{}", {"name": "Taken"}),
        ("DELETE", "/api/v1/workspaces/{}", None),
        ("GET", "/api/v1/workspaces/{}/tokensets", None),
        ("GET", "/api/v1/tokensets/{}", None),
        ("GET", "/api/v1/tokensets/{}/tokens", None),
        ("POST", "/api/v1/tokensets/{}/tokens", {"name": "a.b", "type": "number", "value": "1"}),
        ("GET", "/api/v1/tokensets/{}/modes/light/export", None),
    ],
)
def test_what_another_owner_has_looks_absent(
    client: TestClient[Litestar], method: str, path: str, content: dict[str, str] | None
) -> None:
    """Every route answers for another owner's things byte for byte as for things that do not exist."""
    theirs = path.format("product" if "workspaces" in path else "globex-ui")
    answers = [
        client.request(method, target, headers=ACME, json=content) for target in (theirs, path.format("no"))
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].headers == answers[1].headers
    assert answers[0].content == answers[1].content
    assert client.get(theirs.removesuffix("/modes/light/export"), headers=GLOBEX).status_code == 200


def test_workspaces_are_listed_by_owner(client: TestClient[Litestar]) -> None:
    """An owner sees its own workspaces; an unknown owner, or none, sees an empty list."""
    owners = [ACME, GLOBEX, {"X-Gateway-Owner": "initech"}, {}]
    listed = [client.get("/api/v1/workspaces", headers=fields).json() for fields in owners]

    assert [[place["id"] for place in places] for places in listed] == [
        ["brand", "marketing"],
        ["product"],
        [],
        [],
    ]


def test_a_workspace_can_be_created_renamed_and_deleted(client: TestClient[Litestar]) -> None:
    """Location leads to the new workspace, which lives until it is deleted, in this backend only."""
    created = client.post("/api/v1/workspaces", headers=ACME, json={"name": "Spring"})
    location = created.headers["Location"]
    renamed = client.patch(location, headers=ACME, json={"name": "Summer"})

    assert (created.status_code, created.json()["name"]) == (201, "Spring")
    assert (renamed.status_code, client.get(location, headers=ACME).json()["name"]) == (200, "Summer")
    with TestClient(create_backend()) as fresh:
        assert fresh.get(location, headers=ACME).status_code == 404
    assert ((deleted := client.delete(location, headers=ACME)).status_code, deleted.content) == (204, b"")
    assert client.get(location, headers=ACME).status_code == 404


def test_a_deleted_workspace_takes_its_tokensets_along(client: TestClient[Litestar]) -> None:
    """Nothing of a deleted workspace stays reachable."""
    client.delete("/api/v1/workspaces/brand", headers=ACME)

    assert client.get(EXPORT, headers=ACME).status_code == 404
    assert client.get("/api/v1/tokensets/acme-campaign", headers=ACME).status_code == 200


def test_a_request_without_an_owner_creates_nothing(client: TestClient[Litestar]) -> None:
    """A workspace always has an owner."""
    refused = client.post("/api/v1/workspaces", json={"name": "Nobody's"})

    assert (refused.status_code, refused.json()) == (403, {"error": "the request names no owner"})


def test_unsound_content_is_refused_with_its_mistake(client: TestClient[Litestar]) -> None:
    """A misspelled member is a 400 that names it."""
    refused = client.post("/api/v1/workspaces", headers=ACME, json={"nmae": "Spring"})

    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]
    assert "nmae" in refused.json()["error"]


@pytest.mark.parametrize("target", READABLE)
def test_head_answers_as_get_without_content(client: TestClient[Litestar], target: str) -> None:
    """HEAD gives the status and fields of GET, the length of GET's content, and no content."""
    get, head = client.get(target, headers=ACME), client.head(target, headers=ACME)

    assert (get.status_code, get.headers) == (head.status_code, head.headers)
    assert str(len(get.content)) == head.headers["Content-Length"]
    assert (bool(get.content), head.content) == (True, b"")


def test_exports_carry_last_modified_and_leave_caching_to_the_gateway(client: TestClient[Litestar]) -> None:
    """Type, length and Last-Modified come from the backend; ETag and Cache-Control do not."""
    css, as_json = client.get(EXPORT + "?format=css", headers=ACME), client.get(EXPORT, headers=ACME)

    assert css.headers["Content-Type"] == "text/css; charset=utf-8"
    assert as_json.headers["Content-Type"] == "application/json"
    assert "Mon, 02 Jun 2025 09:00:00 GMT" == css.headers["Last-Modified"] == as_json.headers["Last-Modified"]
    assert {"etag", "cache-control"}.isdisjoint({*css.headers, *as_json.headers})


@pytest.mark.parametrize(
    ("target", "status", "error"),
    [
        (EXPORT + "?format=xml", 400, "format must be one of: css, json"),
        (EXPORT.replace("light", "sepia"), 404, "mode must be one of: light, dark"),
        ("/api/v1/nowhere", 404, "Not Found"),
    ],
)
def test_errors_are_json(client: TestClient[Litestar], target: str, status: int, error: str) -> None:
    """A refusal is `{"error": ...}`, and where there is a choice it lists what is allowed."""
    answer = client.get(target, headers=ACME)

    assert (status, "application/json") == (answer.status_code, answer.headers["Content-Type"])
    assert {"error": error} == answer.json()


def test_a_new_token_changes_the_export_and_its_date(client: TestClient[Litestar]) -> None:
    """What is added is exported at once, under its CSS name, with a new Last-Modified."""
    token = {"name": "color.banner", "type": "color", "value": "{color.blue.800}"}
    created = client.post("/api/v1/tokensets/acme-core/tokens", headers=ACME, json=token)
    export = client.get(EXPORT + "?format=css", headers=ACME)

    assert (201, token) == (created.status_code, created.json())
    assert css_properties(export.text)["--color-banner"] == "#173f8f"
    assert export.headers["Last-Modified"] == "Wed, 04 Mar 2026 05:06:07 GMT"


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ({"name": "color.x", "type": "color", "value": "{color.x}"}, "alias cycle: color.x -> color.x"),
        (
            {"name": "color.x", "type": "color", "value": "{color.no}"},
            "color.x: alias to unknown token color.no",
        ),
        (
            {"name": "color.x", "type": "color", "value": "red;}"},
            "color.x: not a value of type color: 'red;}'",
        ),
        ({"name": "color.blue", "type": "color", "value": "#000000"}, "color.blue: the name of a group too"),
        ({"name": "space.1.a", "type": "dimension", "value": "1px"}, "space.1: the name of a group too"),
        ({"name": "space.1", "type": "dimension", "value": "1px"}, "space.1: the name of another token too"),
    ],
)
def test_a_token_that_would_break_the_export_is_refused(
    client: TestClient[Litestar], token: dict[str, str], error: str
) -> None:
    """A tokenset can be exported at all times: what would break it is a 400 and changes nothing."""
    before = client.get(EXPORT, headers=ACME)
    refused = client.post("/api/v1/tokensets/acme-core/tokens", headers=ACME, json=token)
    after = client.get(EXPORT, headers=ACME)

    assert (400, {"error": error}) == (refused.status_code, refused.json())
    assert (before.content, before.headers) == (after.content, after.headers)


def test_an_alias_cycle_is_named_in_the_mode_that_has_it() -> None:
    """A cycle through several tokens is a ValueError that spells the way around, and only in its mode."""
    steps = ["a.a", "a.b", "a.c", "a.a"]
    tokens = [DesignToken(name, "number", "1", {"dark": f"{{{target}}}"}) for name, target in pairwise(steps)]

    assert [token.value for token in design_tokens.resolve_tokens(tokens, "light")] == ["1", "1", "1"]
    with pytest.raises(ValueError, match=re.escape("alias cycle: a.a -> a.b -> a.c -> a.a")):
        design_tokens.resolve_tokens(tokens, "dark")


def test_a_chain_of_aliases_may_be_longer_than_the_stack() -> None:
    """Aliases are followed without recursion, so no chain a client makes is a crash."""
    names = [f"a.{number}" for number in range(sys.getrecursionlimit() + 10)]
    chain = [DesignToken(name, "number", f"{{{target}}}") for name, target in pairwise(names)]
    resolved = design_tokens.resolve_tokens([*chain, DesignToken(names[-1], "number", "4.5")], "light")

    assert ["4.5"] * len(names) == [token.value for token in resolved]


@pytest.mark.parametrize(("tokenset", "mode"), [*product(SEED_TOKENSETS, MODES)])
def test_css_has_a_plain_property_for_each_token(tokenset: str, mode: Mode) -> None:
    """Names are the token's with hyphens, each once, without aliases; typography has one for each part."""
    resolved = design_tokens.resolve_tokens(design_tokens.seed_tokens(tokenset), mode)
    sheet = design_tokens.render_css(resolved, mode).decode()
    properties = css_properties(sheet)

    assert sheet.startswith(f":root {{\n  color-scheme: {mode};\n")
    assert len(properties) == sheet.count("--")
    assert "{" not in "".join(properties.values())
    names = {"--" + token.name.replace(".", "-") for token in resolved if token.type != "typography"}
    assert names <= properties.keys()
    assert properties["--typography-body-font-size"] == "1rem"
    assert properties["--shadow-sm"].startswith("0px 1px 2px 0px #")


def test_json_has_the_shape_of_the_community_group(client: TestClient[Litestar]) -> None:
    """Groups nest, and each token has a `$type` and a structured `$value` without aliases."""
    tree = client.get(EXPORT.replace("light", "dark"), headers=ACME).json()
    blue = {"colorSpace": "srgb", "components": [0.5608, 0.7216, 1.0], "hex": "#8fb8ff"}

    assert {"$type": "color", "$value": blue} == tree["color"]["text"]["link"]
    assert tree["font"]["tracking"]["tight"] == {
        "$type": "dimension",
        "$value": {"value": -0.4, "unit": "px"},
    }
    assert tree["typography"]["body"]["$value"]["fontFamily"] == ["Inter", "system-ui", "sans-serif"]
    assert tree["shadow"]["lg"]["$value"]["color"]["alpha"] == 0.6


@pytest.mark.parametrize(("tokenset", "mode"), [*product(SEED_TOKENSETS, MODES)])
def test_text_is_readable_on_every_surface(tokenset: str, mode: Mode) -> None:
    """The palette is accessible: text has WCAG's 4.5:1 on each surface, and so has the label of an action."""
    tokens = design_tokens.resolve_tokens(design_tokens.seed_tokens(tokenset), mode)
    colors = {token.name: str(token.value) for token in tokens}
    texts, surfaces = ([name for name in colors if f".{role}." in name] for role in ("text", "surface"))
    pairs = [*product(texts, surfaces), ("color.action.label", "color.action.background")]

    assert [pair for pair in pairs if contrast(colors[pair[0]], colors[pair[1]]) < 4.5] == []


def test_whoami_shows_the_request_as_it_arrived() -> None:
    """Target and fields come back undecoded and in order, repetitions kept."""
    sent = [(b"x-twice", b"1"), (b"x-gateway-owner", b"acme"), (b"x-twice", b"2")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/whoami",
        "raw_path": b"/api/v1/whoami",
        "query_string": b"a=%20b&a=c",
        "headers": sent,
    }

    answer = json.loads(asyncio.run(call_asgi(create_backend(), scope)))

    assert (answer["method"], answer["target"]) == ("GET", "/api/v1/whoami?a=%20b&a=c")
    assert [[name.decode(), value.decode()] for name, value in sent] == answer["fields"]


def test_echo_streams_content_back_unchanged(client: TestClient[Litestar]) -> None:
    """Any bytes in any number of chunks come back as they were, with their Content-Type."""
    chunks = [bytes(range(256)) * 300, b"", b"end"]
    answer = client.post("/api/v1/echo", content=iter(chunks), headers={"Content-Type": "image/x-odd"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/x-odd")
    assert b"".join(chunks) == answer.content
    assert ((refused := client.get("/api/v1/echo")).status_code, refused.headers["Allow"]) == (405, "POST")


def test_requests_are_counted_by_path() -> None:
    """A test can see what reached the backend, also what no route matches; each backend counts for itself."""
    app = create_backend()
    with TestClient(app) as client:
        for target in (EXPORT, EXPORT + "?format=css", "/nowhere"):
            client.get(target)
        client.post("/api/v1/echo", content=b"x")

    assert app.state.request_counts == {EXPORT: 2, "/nowhere": 1, "/api/v1/echo": 1}
    assert create_backend().state.request_counts == {}
