"""What the example backend's exports promise to the gateway in front of it."""

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.demo.backend.api import create_backend
from gateway.demo.backend.translations import known_languages
from tests.demo.examples import ACME, DOCUMENT, EXPORT, GLOBEX, TRANSLATIONS


@pytest.mark.parametrize("target", [TRANSLATIONS, DOCUMENT, EXPORT, EXPORT + "?format=css"])
def test_export_gives_the_same_bytes_from_every_fresh_backend(target: str) -> None:
    """An export depends on the content alone: asked twice, of two backends, it is the same bytes."""
    contents: list[bytes] = []
    for _ in range(2):
        with TestClient(create_backend()) as client:
            contents += [client.get(target, headers=ACME).content for _ in range(2)]

    assert len(set(contents)) == 1


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
    assert refused.status_code == 400
    assert refused.json() == {"error": "unknown language: xx-invented"}


def test_translations_are_for_the_project_named_or_its_owner(client: TestClient[Litestar]) -> None:
    """A project's document is for itself and its owner; to others it is as absent as one that never was."""
    invented = client.get("/api/v1/projects/invented/translations/export", headers=ACME)
    refused = [client.get(TRANSLATIONS, headers=fields) for fields in ({}, GLOBEX, {"X-Gateway-Project": "app"})]

    assert client.get(TRANSLATIONS, headers=ACME).status_code == 200
    assert client.get(TRANSLATIONS, headers={"X-Gateway-Project": "website"}).status_code == 200
    assert {(404, invented.content)} == {(answer.status_code, answer.content) for answer in refused}


@pytest.mark.parametrize("named", ["shop", "app", ""])
def test_a_token_of_one_project_never_reads_another_of_the_same_owner(client: TestClient[Litestar], named: str) -> None:
    """Where a project is named, even an empty one, the owner's right to its other projects does not count."""
    refused = client.get(TRANSLATIONS, headers={**ACME, "X-Gateway-Project": named})

    assert refused.status_code == 404
    assert refused.json() == {"error": "no such project"}
    assert client.get(TRANSLATIONS, headers={**ACME, "X-Gateway-Project": "website"}).status_code == 200


def test_exports_carry_last_modified_and_leave_caching_to_the_gateway(client: TestClient[Litestar]) -> None:
    """Type, length and Last-Modified come from the backend; ETag and Cache-Control do not."""
    css, as_json = client.get(EXPORT + "?format=css", headers=ACME), client.get(EXPORT, headers=ACME)

    assert css.headers["Content-Type"] == "text/css; charset=utf-8"
    assert as_json.headers["Content-Type"] == "application/json"
    assert "Mon, 02 Jun 2025 09:00:00 GMT" == css.headers["Last-Modified"] == as_json.headers["Last-Modified"]
    assert {"etag", "cache-control"}.isdisjoint({*css.headers, *as_json.headers})
