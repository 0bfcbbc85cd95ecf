"""Mistakes of policy files are told in words that say what to write: all of them at once, each under its file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ConfigurationError
from gateway.core.policies.loading import load_policies
from tests.core.policies.mistakes import FILES, GOOD, MISTAKES, mistakes_in


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_each_mistake_is_told_in_these_words(name: str) -> None:
    """A file with this mistake is refused with its place and a message that says what to write."""
    file = f"{name}.toml"
    expected = tuple(f"{file}: {mistake}" for mistake in MISTAKES[name])
    assert expected == mistakes_in({file: (FILES / file).read_text(encoding="utf-8")})


def test_every_bad_file_is_expected() -> None:
    """No bad file lies there unused, and none is missing."""
    assert sorted(MISTAKES) == sorted(file.stem for file in FILES.glob("bad_*.toml"))


def test_the_mistakes_of_all_files_are_told_at_once() -> None:
    """Every mistake of every file is in one error, those of shape and those of meaning, each under its file."""
    names = ["bad_misspelled_inner_key", "bad_missing_key", "bad_quota", "bad_pattern_dots", "bad_not_toml"]
    texts = {f"{name}.toml": (FILES / f"{name}.toml").read_text(encoding="utf-8") for name in names}
    texts = {
        file: text.replace('"shop"', f'"shop{index}"').replace("/**", f"/{index}/**")
        for index, (file, text) in enumerate(texts.items())
    }
    expected = {f"{name}.toml: {mistake}" for name in names for mistake in MISTAKES[name]}
    assert expected == set(mistakes_in(texts))


def test_shape_and_meaning_of_one_file_are_told_at_once() -> None:
    """A wrong key does not hide an unknown scope, nor the other way round."""
    text = GOOD.replace('scopes = ["read"]\n', 'scopes = ["raed"]\ncahce = {}\n', 1)
    assert {
        "a.toml: $.rules[0].cahce: unknown key 'cahce': did you mean 'cache'?",
        "a.toml: $.rules[0].scopes[0]: unknown scope 'raed': did you mean 'read'?",
    } == set(mistakes_in({"a.toml": text}))


def test_two_files_cannot_have_one_name() -> None:
    """The second file with a policy's name is told, and that its rules match the same requests."""
    assert (
        "b.toml: $.name: another file has a policy named 'shop' already",
        "b.toml: $.rules[0].match: 'GET /**' and 'GET /**' of shop match the same requests",
    ) == mistakes_in({"a.toml": GOOD, "b.toml": GOOD})


def test_two_policies_cannot_have_the_same_requests() -> None:
    """Rules of two files that match the same requests of one host are a mistake of the second."""
    other = GOOD.replace('"shop"', '"other"')
    assert ("b.toml: $.rules[0].match: 'GET /**' and 'GET /**' of shop match the same requests",) == mistakes_in(
        {"a.toml": GOOD, "b.toml": other}
    )


def test_tests_of_files_wait_until_all_files_can_be_read() -> None:
    """A failing test is told only when no file has another mistake: before that it would say little."""
    texts = {name: (FILES / f"{name}.toml").read_text(encoding="utf-8") for name in ("bad_test_fails", "bad_name")}
    assert [f"bad_name: {mistake}" for mistake in MISTAKES["bad_name"]] == list(mistakes_in(texts))


lines = st.sampled_from(
    [line for file in FILES.glob("*.toml") for line in file.read_text(encoding="utf-8").splitlines()]
)


@given(st.lists(lines | st.text(max_size=8), max_size=12))
def test_any_text_is_served_or_refused(text: list[str]) -> None:
    """Lines of any policies, in any order, are served or refused with mistakes, and raise nothing else."""
    try:
        load_policies({"a.toml": "\n".join(text), "good.toml": GOOD})
    except ConfigurationError as error:
        assert error.mistakes
