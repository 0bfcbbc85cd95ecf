"""What a rule offers is what its table says."""

import pytest

from gateway.core.errors import ConfigurationError
from gateway.core.policies.loading import load_policies
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import CodeNames, DocumentForm
from gateway.core.variants.options import Option, VariantRule
from tests.conftest import POLICIES
from tests.core.variants.samples import variants_of

TEXTS = """
name = "shop"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["shp_"] }
[[rules]]
match = "GET /{project}/export"
[rules.variants]
document = "translations"
"""
TOKENS = TEXTS.replace("translations", "design-tokens").replace("{project}/export", "{set}/{mode}")


def compiled(text: str) -> VariantRule:
    return variants_of("/a/export", text)


def option(text: str, options: str) -> Option:
    (found,) = compiled(f"{text}options = {{ {options} }}\n").options
    return found


def test_a_table_with_nothing_else_is_enough() -> None:
    """A team that writes two lines has its document in every format's default."""
    form = DocumentForm("translations")
    assert VariantRule(form, (), None, "export", {"{project}": 0}) == compiled(TEXTS)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("format = {}", Option("format", "format", ("json", "csv", "xml", "i18next", "xcstrings", "yaml"), ("json",))),
        ('format = ["csv", "json"]', Option("format", "format", ("csv", "json"), ("csv",))),
        ('type = { sets = "format", values = ["xml"] }', Option("type", "format", ("xml",), ("xml",))),
        ("pretty = {}", Option("pretty", "pretty", ("false", "true"), ("false",))),
        ("pretty = { default = true }", Option("pretty", "pretty", ("false", "true"), ("true",))),
        ('shape = { default = "flat" }', Option("shape", "shape", ("nested", "flat"), ("flat",))),
        ("lang = {}", Option("lang", "lang", None, None, several=True)),
        ('lang = ["en", "de"]', Option("lang", "lang", ("en", "de"), ("de", "en"), several=True)),
        ('lang = { default = "en" }', Option("lang", "lang", None, ("en",), several=True)),
        ('status = ["a", "b"]', Option("status", "status", ("a", "b"), None, several=True)),
        ("bom = {}", Option("bom", "bom", ("false", "true"), ("false",))),
        (
            'status = { values = ["a", "b"], default = ["b"], description = "x" }',
            Option("status", "status", ("a", "b"), ("b",), several=True, description="x"),
        ),
    ],
)
def test_what_is_not_said_is_the_obvious(written: str, meant: Option) -> None:
    """Values are all that there are, and the default is the first of them, or all of a list."""
    assert meant == option(TEXTS, written)


def test_a_format_of_one_language_is_offered_where_a_request_can_say_which() -> None:
    """All formats with `lang`; without it, those that hold all languages, and a mistake if the policy names another."""
    both = compiled(TEXTS + "options = { format = {}, lang = {} }\n")
    assert tuple(FORMATS["translations"]) == both.options[0].values
    expected = r"options.format: android, po: a file of these is in one language, and no option says which: offer lang"
    with pytest.raises(ConfigurationError, match=expected):
        option(TEXTS, 'format = ["json", "android", "po"]')


def test_a_mode_may_stand_in_the_path() -> None:
    """The segment is found once; only the document knows its values."""
    assert Option("mode", "mode", None, None, segment=1) == option(TOKENS, 'mode = { parameter = "{mode}" }')
    form = compiled(TOKENS + 'options = { mode = { parameter = "{mode}" } }').form
    assert (("mode", "mode", True),) == form.asked


def test_a_mode_with_a_slash_stands_in_the_query() -> None:
    """An encoded slash in a path is refused before any rule is looked for, so no request could ask for it there."""
    assert ("Dark/AA",) == option(TOKENS, 'mode = ["Dark/AA"]').values
    with pytest.raises(ConfigurationError, match="'Dark/AA' cannot stand in a path"):
        option(TOKENS, 'mode = { values = ["Mode 1", "Dark/AA"], parameter = "{mode}" }')


def test_a_document_is_asked_for_what_the_policy_leaves_open() -> None:
    """Languages that the policy names are not looked for in the document."""
    assert (("lang", "locale", False),) == compiled(TEXTS + 'options = { locale = { sets = "lang" } }').form.asked
    assert () == compiled(TEXTS + 'options = { lang = ["de"] }').form.asked


def test_names_and_types_are_the_documents() -> None:
    """What a backend calls otherwise is in the form that the document is read by."""
    names = 'names = { tokens = "data", "tokens.modes" = "overrides" }\n'
    found = compiled(TOKENS + names + 'types = { spacing = "dimension" }\n').form
    expected = (("tokens", "data"), ("tokens.modes", "overrides"))
    assert DocumentForm("design-tokens", expected, (("spacing", "dimension"),)) == found


def test_names_in_source_code_are_the_policys() -> None:
    """What it does not name is as without it."""
    code = 'code = { constants = "snake", package = "com.example.in" }\n'
    assert CodeNames("snake", "Tokens", "com.example.in") == compiled(TOKENS + code).form.code
    assert CodeNames() == compiled(TOKENS).form.code


@pytest.mark.parametrize(
    ("document", "code", "mistake"),
    [
        (TEXTS, "{}", r"variants\.code: no format of translations is source code"),
        (TOKENS, '{ constants = "kebab" }', r"variants\.code\.constants: Invalid enum value 'kebab'"),
        (TOKENS, '{ type = "tokens" }', r"variants\.code\.type: Expected `str` matching regex"),
        (TOKENS, '{ type = "Self" }', r"variants\.code\.type: Expected `str` matching regex"),
        (TOKENS, '{ package = "com/example" }', r"variants\.code\.package: Expected `str` matching regex"),
        (TOKENS, '{ object = "Brand" }', r"object"),
    ],
)
def test_names_that_no_code_can_have_are_mistakes(document: str, code: str, mistake: str) -> None:
    """Before an export is source that cannot be compiled."""
    with pytest.raises(ConfigurationError, match=mistake):
        compiled(f"{document}code = {code}\n")


def test_the_example_says_what_can_be_said() -> None:
    """The lines of policies/example.toml that show variants are right once the marks before them are taken away."""
    lines = (POLICIES / "example.toml").read_text(encoding="utf-8").splitlines()
    start = lines.index("# [rules.variants]")
    shown = [line.removeprefix("# ") for line in lines[start : lines.index("", start)]]
    texts = [line for line in shown if not line.startswith(("locale", "mode"))]
    assert ["format", "shape", "pretty", "lang", "status"] == [
        one.name for one in compiled(TEXTS.partition("[rules.variants]")[0] + "\n".join(texts)).options
    ]
    other = [line for line in shown if line.startswith("locale")]
    assert "lang" == option(TEXTS, other[0].partition("   #")[0]).sets
    other = [line for line in shown if line.startswith("mode")]
    assert 1 == option(TOKENS, other[0].partition("   #")[0].strip()).segment


def test_a_policys_tests_meet_its_options() -> None:
    """A file can say what its own options refuse, and that others pass."""
    tests = "".join(
        f'[[tests]]\nrequest = "GET /web/export{query}"\nexpect = {status}\n'
        for query, status in (("", 200), ("?format=csv", 200), ("?format=toml", 400), ("?langs=de", 400))
    )
    options = "options = { format = {} }\n"
    load_policies({"a.toml": TEXTS + options + tests})
    with pytest.raises(ConfigurationError, match="gets 400 \\(invalid_option\\), expected 200"):
        load_policies({"a.toml": TEXTS + options + tests.replace("400", "200")})
    path = f'[[tests]]\nrequest = "GET /acme/{"x" * 129}"\nexpect = 404\n'
    load_policies({"a.toml": TOKENS + 'options = { mode = { parameter = "{mode}" } }\n' + path})
