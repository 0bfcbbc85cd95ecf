"""Ready lines."""

import msgspec
import pytest

from gateway.core.pages.export_urls import build_snippets, field_line, variable_name
from gateway.core.policies.model import CredentialSource, Scheme
from tests.support.policies import small_policies

POLICY = small_policies().policies["small"]


@pytest.mark.parametrize(
    ("policy", "variable"),
    [
        ("kopimark", "KOPIMARK_API_TOKEN"),
        ("tokens-studio", "TOKENS_STUDIO_API_TOKEN"),
        ("9lives", "GATEWAY_9LIVES_API_TOKEN"),
    ],
)
def test_a_variable_is_one_that_every_shell_takes(policy: str, variable: str) -> None:
    """Capitals, digits and underscores, and no digit first."""
    assert variable == variable_name(policy)


def test_the_field_is_the_policys() -> None:
    """Bearer, or a field of its own."""
    keyed = msgspec.structs.replace(POLICY, credentials=(CredentialSource(b"x-api-key", Scheme.BARE),))
    assert "Authorization: Bearer T" == field_line(POLICY, "T")
    assert "X-Api-Key: T" == field_line(keyed, "T")
    commands = [build_snippets(policy, "https://a.example/x")[1].text for policy in (POLICY, keyed)]
    assert ["", " --field X-Api-Key"] == [text.partition("SMALL_API_TOKEN")[2] for text in commands]


def test_a_shell_reads_the_address_as_one_word() -> None:
    """Whatever is in it: ampersands, quotes, spaces."""
    curl = build_snippets(POLICY, "https://a.example/x?a=1&b='; rm")[0].text
    assert """'https://a.example/x?a=1&b='"'"'; rm'""" in curl


def test_no_snippet_is_left_with_a_brace_of_ours() -> None:
    """What pipelines write in braces is theirs."""
    texts = {one.key: one.text for one in build_snippets(POLICY, "https://a.example/")}
    assert ["curl", "gateway", "environment", "github", "gitlab"] == list(texts)
    assert "SMALL_API_TOKEN: ${{ secrets.SMALL_API_TOKEN }}" in texts["github"]
    assert all("{variable}" not in text and "{job}" not in text for text in texts.values())
