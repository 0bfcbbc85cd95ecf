"""Each renderer against a reader that is not ours: csv, lxml, tinycss2, esprima."""

import csv
import io
import json
import re
from typing import Any

import esprima
import pytest
import tinycss2
from lxml import etree

from gateway.core.errors import BrokenDocument
from gateway.core.variants.renderers.tokens import write_identifier
from tests.core.variants.samples import DESIGN_TOKENS, entry, read_cell, rendered, rendered_json, texts, token, tokens

ODD = {
    "right to left": "مرحبا بالعالم\u200f",
    "emoji": "👩‍👩‍👧 🏳️‍🌈",
    "lines": 'one\ntwo\r\nthree\rfour\t"quoted"',
    "nul": "a\0b\x01\x1f\ufffe",
    "markup": "<b>&amp;</b> ]]>",
    "spaces": "  a  ",
    "formula": '=HYPERLINK("http://x")',
}
DOCUMENT = texts(*(entry(key, de=text) for key, text in ODD.items()))
FONT = {"fontFamily": "Inter", "fontSize": "16px", "fontWeight": 700, "letterSpacing": "0", "lineHeight": 1.5}
NAMES = ("a b", "600", "-x", "--", "größe", "日本", 'a"b;}', "a/*b*/", "a\\b", "a\nb", "emoji😀", "#{x}", "A_b", "a\0b")


def read_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def declarations(css: bytes) -> list[tuple[str, str]]:
    """Names and values, as a CSS parser has them; no error anywhere."""
    (rule,) = tinycss2.parse_stylesheet(css.decode(), skip_whitespace=True)
    assert "qualified-rule" == rule.type
    found = tinycss2.parse_blocks_contents(rule.content, skip_whitespace=True, skip_comments=True)
    assert {"declaration"} == {one.type for one in found}
    return [(one.name, tinycss2.serialize(one.value).strip()) for one in found]


def evaluate(node: Any) -> Any:
    """The value of a literal in a syntax tree of ECMAScript; a key that sets a prototype is none."""
    match node.type:
        case "ObjectExpression":
            assert all(one.computed or one.key.value != "__proto__" for one in node.properties)
            return {one.key.value: evaluate(one.value) for one in node.properties}
        case "UnaryExpression":
            return -evaluate(node.argument)
        case _:
            return node.value


def read_module(source: str) -> Any:
    (exported,) = esprima.parseModule(source).body
    return evaluate(exported.declaration)


def test_csv_is_read_by_others() -> None:
    """Lines, quotes and NUL in a text come back as they were, from a reader of RFC 4180."""
    rows = read_csv(rendered(DOCUMENT, format="csv"))
    assert ["key", "de"] == rows[0]
    assert ODD == {key: read_cell(cell) for key, cell in rows[1:]}


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\N{FULLWIDTH EQUALS SIGN}1", "'=1", "''-1", "\0=1"],
)
def test_no_text_is_a_formula(text: str) -> None:
    """OWASP, CSV injection: a spreadsheet gets an apostrophe first, in texts, keys and languages alike."""
    content = texts(entry(text, de=text))
    key, cell = read_csv(rendered(content, format="csv"))[1]
    assert f"'{text}" == key
    assert f"'{text}" == cell
    assert text == read_cell(key)
    assert text == read_cell(cell)


@pytest.mark.parametrize("text", ["'tis", "a=b", "'", "", " =", "it's"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    """Only what could be a formula is changed."""
    content = texts(entry("k", de=text))
    assert [["key", "de"], ["k", text]] == read_csv(rendered(content, format="csv"))


def test_csv_may_begin_with_a_byte_order_mark() -> None:
    """Without it Excel takes UTF-8 for the encoding of the country; the other formats have none."""
    content = texts(entry("k", de="ä"))
    assert rendered(content, format="csv", bom=True) == b"\xef\xbb\xbf" + rendered(content, format="csv")
    assert [["key", "de"], ["k", "ä"]] == read_csv(
        rendered(content, format="csv", bom=True).removeprefix(b"\xef\xbb\xbf")
    )


def test_csv_tells_missing_from_empty() -> None:
    """A missing value has no quotes; an empty text is two."""
    content = texts(entry("k", de="", en=None, fr="x"), entry("l", de="x", en="y"))
    assert b'"key","de","en","fr"\r\n"k","",,"x"\r\n"l","x","y",\r\n' == rendered(content, format="csv")


@pytest.mark.parametrize("shape", ["nested", "flat"])
@pytest.mark.parametrize("pretty", [False, True])
def test_xml_is_read_by_others(shape: str, pretty: bool) -> None:
    """Every text comes back as it was from libxml2, also what XML cannot have."""
    root = etree.fromstring(rendered(DOCUMENT, format="xml", shape=shape, pretty=pretty))
    found = {
        one.get("key") or one.get("name"): json.loads(one[0].text) if one[0].get("escaped") else one[0].text
        for one in root.iter("entry")
    }
    assert found == ODD


def test_xml_names_are_ours_whatever_a_key_is_called() -> None:
    """A key is an attribute: it may be anything, also what no element may be called."""
    keys = ["1 <x>", 'a"b', "xml:lang", "tab\tline\nreturn\r", "日本", "\0"]
    content = texts(*(entry(key, de="x") for key in keys))
    root = etree.fromstring(rendered(content, format="xml", shape="flat"))
    assert {"export", "entry", "value"} == {one.tag for one in root.iter()}
    found = {json.loads(one.get("key")) if one.get("escaped") else one.get("key") for one in root}
    assert set(keys) == found


def test_pretty_changes_the_layout_only() -> None:
    """What people read says the same as what programs read."""
    assert rendered_json(DOCUMENT) == rendered_json(DOCUMENT, pretty=True)
    assert b'{\n  "de": {\n    "emoji": ' in rendered(DOCUMENT, pretty=True)
    assert b"\n" not in rendered(DOCUMENT).rstrip(b"\n")


def test_pretty_json_of_several_languages_is_one_object() -> None:
    """The pieces that are written one by one fit together."""
    content = texts(entry("a", de="x"), entry("b", en="y"), languages=["fr"])
    expected = {"de": {"a": "x"}, "en": {"b": "y"}, "fr": {}}
    assert json.dumps(expected, indent=2) + "\n" == rendered(content, pretty=True).decode()
    assert json.dumps(expected, separators=(",", ":")) + "\n" == rendered(content).decode()


def test_css_is_read_by_others() -> None:
    """A rule of custom properties; every type of value is what CSS writes for it."""
    content = tokens(
        token("color.blue", "color", "#1f5fd6"),
        token("color.veil", "color", "#0008"),
        token("color.vivid", "color", {"colorSpace": "display-p3", "components": [1, 0.5, 0], "alpha": 0.5}),
        token("color.half", "color", {"colorSpace": "srgb", "components": [0, 0, 0], "alpha": 0.5}),
        token("color.between", "color", {"colorSpace": "srgb", "components": [0.1234, 1, "none"]}),
        token("color.soft", "color", {"colorSpace": "hsl", "components": [210, 50, "none"]}),
        token("size", "dimension", "1.5rem"),
        token("time", "duration", "200ms"),
        token("ease", "cubicBezier", [0.5, 0, 1, 1]),
        token("line", "border", {"color": "{color.blue}", "width": "1px", "style": "solid"}),
        token("move", "transition", {"duration": "{time}", "delay": "0", "timingFunction": "{ease}"}),
        token("fade", "gradient", [{"color": "#000", "position": 0}, {"color": "#fff", "position": 0.333}]),
        token("drop", "shadow", {"offsetX": "0", "offsetY": "2px", "blur": "4px", "spread": "0", "color": "#000"}),
        token("body", "typography", FONT),
    )
    assert dict(declarations(rendered(content, DESIGN_TOKENS, format="css"))) == {
        "--color-blue": "#1f5fd6",
        "--color-veil": "#00000088",
        "--color-vivid": "color(display-p3 1 0.5 0 / 0.5)",
        "--color-half": "rgb(0 0 0 / 0.5)",
        "--color-between": "rgb(31.467 255 none)",
        "--color-soft": "hsl(210 50% none)",
        "--size": "1.5rem",
        "--time": "200ms",
        "--ease": "cubic-bezier(0.5, 0, 1, 1)",
        "--line": "1px solid #1f5fd6",
        "--move": "200ms cubic-bezier(0.5, 0, 1, 1) 0ms",
        "--fade": "#000000 0%, #ffffff 33.3%",
        "--drop": "0px 2px 4px 0px #000000",
        "--body-font-family": '"Inter"',
        "--body-font-size": "16px",
        "--body-font-weight": "700",
        "--body-letter-spacing": "0px",
        "--body-line-height": "1.5",
    }


def test_generic_families_are_keywords() -> None:
    """In quotes they would be fonts of that name, which nobody has."""
    generic = ["serif", "sans-serif", "monospace", "cursive", "fantasy", "system-ui", "math", "fangsong"]
    generic += ["ui-serif", "ui-sans-serif", "ui-monospace", "ui-rounded"]
    content = tokens(token("font", "fontFamily", ["Inter", *generic]))
    expected = ", ".join(['"Inter"', *generic])
    assert [("--font", expected)] == declarations(rendered(content, DESIGN_TOKENS, format="css"))


@pytest.mark.parametrize("name", NAMES)
def test_a_css_name_is_one_whatever_the_token_is_called(name: str) -> None:
    """A CSS parser reads the token's own name back; CSS has no NUL, which becomes the replacement character."""
    content = tokens(token(f"a.{name}".replace("{", "(").replace("}", ")"), "number", 1))
    expected = f"--a-{name}".replace("{", "(").replace("}", ")").replace("\0", "\ufffd")
    assert [(expected, "1")] == declarations(rendered(content, DESIGN_TOKENS, format="css"))


@pytest.mark.parametrize("name", NAMES)
def test_an_scss_name_is_one_identifier(name: str) -> None:
    """After the dollar there is one identifier, with whatever it has to escape."""
    content = tokens(token(name.replace("{", "(").replace("}", ")"), "number", 1))
    scss = rendered(content, DESIGN_TOKENS, format="scss").decode()
    assert scss.startswith("$")
    parsed = [one for one in tinycss2.parse_component_value_list(scss[1:]) if one.type != "whitespace"]
    assert ["ident", "literal", "number", "literal"] == [one.type for one in parsed]
    assert name.replace("{", "(").replace("}", ")").replace("\0", "\ufffd") == parsed[0].value


def test_a_font_cannot_write_css() -> None:
    """A font's name is a string that ends where it should, and begins no expression of Sass."""
    hostile = '"; } body { background: url(//x) } #{system()} \\ \n */'
    content = tokens(token("font", "fontFamily", [hostile, "serif"]))
    ((name, _),) = declarations(css := rendered(content, DESIGN_TOKENS, format="css"))
    (rule,) = tinycss2.parse_stylesheet(css.decode(), skip_whitespace=True)
    (declared,) = tinycss2.parse_blocks_contents(rule.content, skip_whitespace=True)
    strings = [one.value for one in declared.value if one.type == "string"]
    assert "--font" == name
    assert [hostile] == strings
    assert re.search(r"(?<!\\)#\{", rendered(content, DESIGN_TOKENS, format="scss").decode()) is None


@pytest.mark.parametrize(
    ("format_", "first", "second"), [("css", "a.b-c", "a-b.c"), ("scss", "a.b-c", "a.b_c"), ("css", "a.$root", "a")]
)
def test_two_tokens_of_one_property_are_both_named(format_: str, first: str, second: str) -> None:
    """Names that become the same are told, rather than one of them lost."""
    content = tokens(token(first, "number", 1), token(second, "number", 2))
    with pytest.raises(BrokenDocument) as broken:
        rendered(content, DESIGN_TOKENS, format=format_)
    assert f"{min(first, second)!r} and {max(first, second)!r}" in broken.value.problem


def test_a_name_that_less_cannot_have_is_told() -> None:
    """It has no escapes, so the name would be cut, or no variable."""
    with pytest.raises(BrokenDocument) as broken:
        rendered(tokens(token("a b", "number", 1)), DESIGN_TOKENS, format="less")
    assert "$: the token 'a b' has no name in Less: a to z, digits, - and _ can be in one" == str(broken.value)


def test_a_token_that_is_a_group_is_told_with_both() -> None:
    """Groups have no place for both; CSS and flat objects have."""
    content = tokens(token("a", "number", 1), token("a.b", "number", 2))
    for format_ in ("json", "js", "ts", "dtcg"):
        with pytest.raises(BrokenDocument) as broken:
            rendered(content, DESIGN_TOKENS, format=format_)
        assert "the key 'a' is also the group of 'a.b'" in broken.value.problem
    assert {"a": 1, "a.b": 2} == rendered_json(content, DESIGN_TOKENS, shape="flat")
    assert [("--a", "1"), ("--a-b", "2")] == declarations(rendered(content, DESIGN_TOKENS, format="css"))


def test_a_part_that_is_a_token_is_told() -> None:
    """A typography token's parts have names, and another token may have the same."""
    content = tokens(token("body", "typography", FONT), token("body.fontSize", "dimension", "1px"))
    with pytest.raises(BrokenDocument) as broken:
        rendered(content, DESIGN_TOKENS, shape="flat")
    assert "'body.fontSize' is a token, and a part" in broken.value.problem


@pytest.mark.parametrize("shape", ["nested", "flat"])
@pytest.mark.parametrize("pretty", [False, True])
def test_modules_are_read_by_others(shape: str, pretty: bool) -> None:
    """A parser of ECMAScript reads what JSON says, also of names that mean something to it."""
    names = [*(name.replace("{", "(").replace("}", ")") for name in NAMES), "__proto__", "a.__proto__", "\u2028"]
    content = tokens(
        *(token(f"n.{name}" if name in NAMES else name, "number", -1.5) for name in names if name != "a.__proto__"),
        token("b.__proto__.c", "fontFamily", '"__proto__": ,"__proto__":\u2029</script>'),
    )
    expected = rendered_json(content, DESIGN_TOKENS, shape=shape)
    js = rendered(content, DESIGN_TOKENS, format="js", shape=shape, pretty=pretty).decode()
    assert expected == read_module(js)
    ts = rendered(content, DESIGN_TOKENS, format="ts", shape=shape, pretty=pretty).decode()
    declared, _, rest = ts.partition(" as const;\n\nexport type Tokens = typeof tokens;\n")
    assert "export default tokens;\n" == rest
    assert expected == read_module(declared.replace("const tokens =", "export default", 1) + ";")
    assert "\u2028" not in js + ts


def test_the_community_groups_format_says_type_and_value() -> None:
    """Every token has its type, its value without aliases and its description; groups are objects."""
    content = tokens(
        {**token("color.blue", "color", "#1f5fd6"), "description": "Ours"}, token("color.link", None, "{color.blue}")
    )
    blue = {"colorSpace": "srgb", "components": [0.1216, 0.3725, 0.8392], "hex": "#1f5fd6"}
    assert {
        "color": {
            "blue": {"$type": "color", "$value": blue, "$description": "Ours"},
            "link": {"$type": "color", "$value": blue},
        }
    } == rendered_json(content, DESIGN_TOKENS, format="dtcg")


def test_an_identifier_escapes_what_it_must() -> None:
    """Letters of any script, digits, hyphens and underscores stand as they are."""
    assert r"a-b_ö日1\20 \!\a \.\{" == write_identifier("a-b_ö日1 !\n.{")
