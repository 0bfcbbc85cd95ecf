"""Rules for other scanners, and the scanners that are at hand."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # of schemathesis

from gateway.core.leaks.patterns import FORMS, build_example, build_regex
from gateway.core.policies.loading import load_policies
from gateway.core.tokens.admin_tokens import ADMIN
from gateway.core.tokens.text import is_well_formed, mint, random_bytes_needed
from tests.support.policies import SMALL
from tests.support.programs import find_optional

HOST = 'name = "open"\nhosts = ["open.example"]'
OPEN = SMALL.replace('name = "small"', HOST).replace('["sml_"]', '["old-", "older_"]\nchecksum = false')
POLICIES = [*load_policies({"small.toml": SMALL, "open.toml": OPEN}).policies.values(), ADMIN]
TOKENS = [mint(policy.token_format, b"\x17" * random_bytes_needed(policy.token_format)) for policy in POLICIES]


@pytest.mark.parametrize("number", range(len(POLICIES)))
def test_the_pattern_matches_what_is_minted_and_no_other_policys(number: int) -> None:
    """All of it."""
    pattern = re.compile(build_regex(POLICIES[number]))
    assert [index == number for index in range(len(TOKENS))] == [bool(pattern.fullmatch(text)) for text in TOKENS]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name or "admin")
def test_the_example_is_well_formed_and_nobodys(policy: object) -> None:
    """GitHub wants a test string; it is not random, so nobody gets it as a token."""
    for one in POLICIES:
        example = build_example(one)
        assert is_well_formed(example, one.token_format)
        assert example in FORMS["github"](POLICIES)


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """A folder with a file that has a token of each policy, and one with a mistake in it."""
    folder = tmp_path / "leaky"
    folder.mkdir()
    wrong = TOKENS[0][:-1] + ("0" if TOKENS[0][-1] != "0" else "1")
    (folder / "settings.txt").write_text("".join(f'value = "{text}"\n' for text in [*TOKENS, wrong]))
    return folder


def test_detect_secrets_finds_tokens_by_the_plugin(leaky: Path, tmp_path: Path) -> None:
    """Each of them, and not the one with a wrong checksum."""
    plugin = tmp_path / "gateway_tokens.py"
    plugin.write_text(FORMS["detect-secrets"](POLICIES))
    command = [sys.executable, "-m", "detect_secrets", "scan", "--all-files", "--plugin", str(plugin)]
    done = subprocess.run([*command, "settings.txt"], cwd=leaky, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout)["results"]["settings.txt"]
    lines = sorted(one["line_number"] for one in results if one["type"] == "Gateway Token")
    assert list(range(1, len(TOKENS) + 1)) == lines


def test_gitleaks_finds_tokens_by_the_rules(leaky: Path, tmp_path: Path) -> None:
    """Each under its policy's rule; it knows no checksums, so it also finds the text with a mistake."""
    gitleaks = find_optional("gitleaks")
    (tmp_path / "rules.toml").write_text(FORMS["gitleaks"](POLICIES))
    report = tmp_path / "report.json"
    words = ("--config", "rules.toml", "--no-banner", "--report-path", str(report), "--report-format", "json")
    done = subprocess.run([gitleaks, "dir", str(leaky), *words], cwd=tmp_path, capture_output=True, check=False)
    assert 1 == done.returncode, done.stderr
    found = sorted((one["RuleID"], one["Secret"]) for one in json.loads(report.read_text()))
    names = [f"gateway-{policy.name or 'admin'}" for policy in POLICIES]
    assert {*zip(names, TOKENS, strict=True)} <= {*found}


def test_the_rules_are_what_their_scanners_read() -> None:
    """TOML with the keys of gitleaks, YAML with those of TruffleHog's detectors; each pattern finds its token."""
    rules = tomllib.loads(FORMS["gitleaks"](POLICIES))["rules"]
    detectors = yaml.safe_load(FORMS["trufflehog"](POLICIES))["detectors"]
    assert [{"id", "description", "regex", "keywords"}] * len(TOKENS) == [set(rule) for rule in rules]
    assert [{"name", "keywords", "regex"}] * len(TOKENS) == [set(one) for one in detectors]
    for text, rule, detector in zip(TOKENS, rules, detectors, strict=True):
        line = f'value = "{text}"'
        assert text == (re.search(rule["regex"], line) or [""])[1]
        assert text == (re.search(detector["regex"]["token"], line) or [""])[1]
        assert any(keyword in line.lower() for keyword in rule["keywords"])
        assert any(keyword in line for keyword in detector["keywords"])
