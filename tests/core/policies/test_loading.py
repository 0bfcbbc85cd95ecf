"""From the texts of all files to one set."""

from pathlib import Path

import msgspec
import pytest

from gateway.core.errors import ConfigurationError
from gateway.core.policies import loading, schema
from gateway.core.policies.loading import Loader, load_policies
from gateway.core.policies.model import CacheRule
from gateway.core.policies.reading import Mistake, read_document
from gateway.core.policies.schema import (
    BundleTable,
    CostTable,
    ManagementTable,
    OptionTable,
    PolicyDocument,
    QuotaTable,
    RefusalTable,
    ScopeTable,
    Table,
    TokenTable,
    VariantsTable,
)
from tests.core.policies.mistakes import FILES, GOOD, mistakes_in

SHIPPED = Path(__file__).parents[3] / "policies"


def test_a_good_file_is_served() -> None:
    """The file next to the bad ones is without a mistake, and its own tests pass."""
    assert {"shop"} == load_policies({"good.toml": GOOD}).policies.keys()


def test_a_cache_is_written_in_a_line() -> None:
    """A rule's `fresh`, stale times and groups with parameters of its path are all that a cached export needs."""
    policies = load_policies({"tokenset.toml": (FILES / "tokenset.toml").read_text(encoding="utf-8")})
    rule = policies.match("app.tokencraft.dev", "GET", ("api", "v1", "tokensets", "a", "modes", "b", "export"))
    assert rule is not None
    assert CacheRule(60, "owner", 604_800, 600, groups=("tokenset-{tokenset}",), may_share=True) == rule.cache


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_policies_are_without_mistakes(file: Path) -> None:
    """Each policy that comes with the gateway can be served, alone."""
    assert 1 == len(load_policies({file.name: file.read_text(encoding="utf-8")}).policies)


def test_two_policies_can_have_the_same_paths_of_different_hosts() -> None:
    """What is told apart by its host is not the same request."""
    texts = {name: f'hosts = ["{name}.example"]\n' + GOOD.replace('"shop"', f'"{name}"') for name in ("a", "b")}
    policies = load_policies(texts)
    found = [policies.match(host, "GET", ("x",)) for host in ("a.example", "b.example", "c.example")]
    assert ["a", "b", ""] == [rule.policy.name if rule else "" for rule in found]


def test_a_policys_test_meets_the_policy_of_its_own_file() -> None:
    """A request that another policy would answer is not found by this one's tests."""
    narrow = GOOD.replace('"shop"', '"narrow"').replace("GET /**", "GET /narrow/**")
    assert "narrow.toml: $.tests[0]: 'GET /items?page=2' gets 404 (no_matching_rule), expected 200" in mistakes_in(
        {"wide.toml": GOOD, "narrow.toml": narrow}
    )


def test_no_file_has_no_policy() -> None:
    """An empty set matches nothing, and is no mistake of any file."""
    assert load_policies({}).match("a", "GET", ("",)) is None


def test_backends_are_replaced_by_name() -> None:
    """The operator's backends go before those of the files."""
    policies = load_policies({"good.toml": GOOD}, {"shop": "http://127.0.0.1:9999"})
    assert "http://127.0.0.1:9999" == policies.policies["shop"].upstream.targets[0]


def test_the_schema_has_every_table_and_every_key() -> None:
    """An editor with the generated JSON Schema knows all that a policy file may have, and that nothing else may be."""
    definitions = msgspec.json.schema(PolicyDocument)["$defs"]
    of_upstreams = [one for name, one in vars(schema).items() if name.endswith("Table") and one is not Table]
    others: list[type[msgspec.Struct]] = [
        TokenTable,
        QuotaTable,
        CostTable,
        ScopeTable,
        BundleTable,
        VariantsTable,
        OptionTable,
        ManagementTable,
        RefusalTable,
    ]
    kinds: list[type[msgspec.Struct]] = [*Table.__subclasses__(), *of_upstreams, *others]
    tables = {kind.__name__: kind for kind in kinds}
    assert tables.keys() == definitions.keys()
    for name, table in tables.items():
        assert {field.encode_name for field in msgspec.structs.fields(table)} == definitions[name]["properties"].keys()
        assert definitions[name]["additionalProperties"] is False
        assert definitions[name]["description"] == (table.__doc__ or "").strip()


def small(name: str, *rules: str, hosts: str = "") -> str:
    """A policy with these rules."""
    text = f'name = "{name}"\nupstream = "http://a"\n{hosts}\n[token]\nprefixes = ["sml_"]\n'
    return text + "".join(f'[[rules]]\nmatch = "{rule}"\n' for rule in rules)


A_HOST, B_HOST, BOTH_HOSTS = (f"hosts = [{names}]" for names in ('"a.test"', '"b.test"', '"a.test", "b.test"'))


def test_only_a_changed_file_is_read_and_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' policies, their rules and the trees of their hosts are those of the set before."""
    seen: list[str] = []

    def read(text: str) -> tuple[PolicyDocument | None, list[Mistake]]:
        seen.append(text)
        return read_document(text)

    monkeypatch.setattr(loading, "read_document", read)
    texts = {"a": small("a", "GET /a", hosts=A_HOST), "b": small("b", "GET /b", hosts=B_HOST)}
    texts |= {"c": small("c", "GET /c")}
    loader = Loader({})
    before = loader.load(texts)
    assert 3 == len(seen)
    changed = texts | {"b": small("b", "GET /b", "GET /new", hosts=B_HOST)}
    after = loader.load(changed)
    assert [changed["b"]] == seen[3:]
    assert before.policies["a"] is after.policies["a"]
    assert before.match("a.test", "GET", ("a",)) is after.match("a.test", "GET", ("a",))
    assert before.match("any", "GET", ("c",)) is after.match("any", "GET", ("c",))
    assert before._matchers["a.test"] is after._matchers["a.test"]
    assert before._matchers["b.test"] is not after._matchers["b.test"]
    assert before.match("b.test", "GET", ("new",)) is None
    assert after.match("b.test", "GET", ("new",)) is not None


CHANGES = [
    {"a": small("a", "GET /a"), "b": small("b", "GET /b")},
    {"a": small("a", "GET /a"), "b": small("b", "GET /a")},
    {"a": small("a", "GET /a"), "b": small("b", "GET /a", hosts=B_HOST)},
    {"a": small("a", "GET /a", hosts=BOTH_HOSTS), "b": small("b", "GET /a", "GET /x", hosts=BOTH_HOSTS)},
    {"a": small("a", "GET /a"), "renamed": small("b", "GET /a")},
    {"a": small("a", "GET /a"), "b": small("a", "GET /b")},
    {"a": small("a", "GET /a"), "b": "name = "},
    {"a": small("a", "GET /a", "no path"), "b": small("b", "GET /b")},
    {"b": small("b", "GET /b")},
    {},
]


@pytest.mark.parametrize("first", CHANGES)
def test_a_load_after_others_is_as_the_first(first: dict[str, str]) -> None:
    """Mistakes begin and end with the files that they are in, whatever was loaded before."""
    loader = Loader({})
    outcome_of(loader, first)
    for texts in CHANGES:
        assert outcome_of(Loader({}), texts) == outcome_of(loader, texts)


def outcome_of(loader: Loader, texts: dict[str, str]) -> object:
    """What a load gives: all mistakes, or all rules by host."""
    try:
        policies = loader.load(texts)
    except ConfigurationError as error:
        return error.mistakes
    found = {host: sorted(rule.pattern.text for rule in matcher) for host, matcher in policies._matchers.items()}
    return found, sorted(policies.policies)
