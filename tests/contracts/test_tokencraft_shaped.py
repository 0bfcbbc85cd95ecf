"""Tokencraft's exports shaped by the gateway: the second choice of policies/tokencraft.toml, its marks taken away."""

import re
from collections.abc import Iterator

import pytest

from gateway.core.policies.loading import load_policies
from tests.conftest import POLICIES
from tests.contracts.conftest import Commands
from tests.contracts.product import gateway_before
from tests.support.client import ask
from tests.support.processes import GatewayServer, RedisServer

EXPORT = "/api/v1/tokensets/acme-core/modes/light/export?format=css"
SHIPPED = (POLICIES / "tokencraft.toml").read_text(encoding="utf-8")


def take_marks(text: str) -> str:
    """The text with all its commented tables, each up to the next line that is none of it, as an operator would."""
    lines, in_table = [], False
    for line in text.splitlines():
        in_table = line.startswith("# [") or (in_table and line.startswith("# "))
        lines.append(line.removeprefix("# ") if in_table else line)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def shaping(
    redis_server: RedisServer, backend_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """A gateway with that choice, in front of a product that has documents."""
    ports, folder = {"tokencraft": backend_port}, tmp_path_factory.mktemp("shaping")
    with gateway_before(ports, redis_server.url, folder, change=take_marks) as server:
        yield server


def test_T13_shaping_is_a_choice() -> None:
    """The file as it is shapes nothing; without the marks it does, and has one more test, which passes."""
    rules = []
    for text in (SHIPPED, take_marks(SHIPPED)):
        policies = load_policies({"tokencraft.toml": text})
        rule = policies.match("app.tokencraft.dev", "GET", ("api", "v1", "tokensets", "a", "modes", "b", "export"))
        assert rule is not None
        rules.append((rule.variants is not None, rule.policy.test_count))
    assert [False, True] == [shapes for shapes, _ in rules]
    assert rules[0][1] + 1 == rules[1][1]
    assert not re.search(r"^# (\[|\w+ = )", take_marks(SHIPPED), re.MULTILINE)


def test_T13_every_mode_and_format_is_made_of_one_document(shaping: GatewayServer, tokens: Commands) -> None:
    """The product gives it once: the second mode and format come from the cache, each with a weak tag of its own."""
    text = tokens.create("acme")["token"]
    light = ask(shaping.port, "GET", EXPORT, token=text)
    dark = ask(shaping.port, "GET", EXPORT.replace("light", "dark"), token=text)
    tree = ask(shaping.port, "GET", EXPORT.replace("css", "json"), token=text)
    unnamed = ask(shaping.port, "GET", EXPORT.replace("?format=css", ""), token=text)
    assert b"  --color-text-link: #8fb8ff;\n" in dark.content
    assert "#1f5fd6" == tree.json()["color"]["text"]["link"]
    assert light.content == unnamed.content
    assert "text/css; charset=utf-8" == light.field("content-type")
    assert 'attachment; filename="acme-core-light.css"' == light.field("content-disposition")
    assert "gateway; fwd=uri-miss; stored" == light.field("cache-status")
    assert all((one.field("cache-status") or "").startswith("gateway; hit") for one in (dark, tree, unnamed))
    tags = {one.field("etag") or "" for one in (light, dark, tree)}
    assert 3 == len([tag for tag in tags if tag.startswith('W/"')])


def test_T13_what_is_not_offered_is_told_in_the_products_words(shaping: GatewayServer, tokens: Commands) -> None:
    """An unknown format is 400 that lists those there are; a mode that the tokenset does not have is 404."""
    text = tokens.create("acme")["token"]
    wrong = ask(shaping.port, "GET", EXPORT.replace("css", "sass"), token=text)
    said = {"error": "The option format must be one of css, scss, json, js, ts, dtcg."}
    assert 400 == wrong.status
    assert said == wrong.json()
    absent = ask(shaping.port, "GET", EXPORT.replace("light", "dim"), token=text)
    assert 404 == absent.status
    assert {"error": "Not found"} == absent.json()
