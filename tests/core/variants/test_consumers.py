"""What builds do with exports of design tokens: css-tree, postcss, lightningcss, sass and others read them.

conftest.py fetches them; without Node or a registry these tests are left out and say so.
"""

from tests.core.variants.samples import DESIGN_TOKENS, rendered, rendered_json, token, tokens
from tests.core.variants.test_renderers import NAMES
from tests.support.consumers import Read

ODD_NAMES = [
    *(name.replace("{", "(").replace("}", ")") for name in NAMES if "\0" not in name),
    *("-", "--", "a  b", " a ", "-1", "1", "a:b", "a;b", "x$", "@x", "!", "ä ö", "Dark/AA", "100%", "(x)", "a\tb"),
]


def variables(scss: str) -> list[tuple[str, str]]:
    """The variables of the export, each for a property of its own."""
    return [(f"--p{index}", f"#{{{line.rpartition(': ')[0]}}}") for index, line in enumerate(scss.splitlines())]


def test_every_name_is_read_by_every_consumer(consumers: Read) -> None:
    """Whatever a token is called, css-tree, postcss, lightningcss and sass know it by that name."""
    named = {f"n.{name}".strip("."): index for index, name in enumerate(dict.fromkeys(ODD_NAMES))}
    content = tokens(*(token(name, "number", value) for name, value in named.items()))
    expected = {f"--{name.replace('.', '-', 1)}": str(value) for name, value in named.items()}
    found = consumers(css=rendered(content, DESIGN_TOKENS, format="css").decode())
    assert expected == {name: value.strip() for name, value in found["css-tree"].items()}
    assert expected == found["postcss"]
    assert expected.keys() == found["lightningcss"].keys()


def test_every_variable_is_read_by_sass(consumers: Read) -> None:
    """Also one of a name that is no identifier in Sass."""
    named = {name: index for index, name in enumerate(dict.fromkeys(ODD_NAMES))}
    content = tokens(*(token(name, "number", value) for name, value in named.items()))
    scss = rendered(content, DESIGN_TOKENS, format="scss").decode()
    assert sorted(map(str, named.values())) == sorted(consumers(scss=scss, uses=variables(scss))["sass"].values())


def test_sass_functions_take_every_color_of_srgb(consumers: Read) -> None:
    """`color(srgb ...)` is no legacy color: functions such as `red()` stop at it."""
    given = {"half": ([0, 0, 0], 0.5), "between": ([0.1234, 0.5, 0.25], 1), "on": ([0.2, 0.4, 0.6], 1)}
    content = tokens(
        *(
            token(name, "color", {"colorSpace": "srgb", "components": components, "alpha": alpha})
            for name, (components, alpha) in given.items()
        )
    )
    scss = '@use "sass:color";\n' + rendered(content, DESIGN_TOKENS, format="scss").decode()
    uses = [(f"--{name}", f"#{{color.is-legacy(${name})}} #{{alpha(${name})}}") for name in given]
    found = consumers(scss=scss, uses=uses)["sass"]
    assert {"--half": "true 0.5", "--between": "true 1", "--on": "true 1"} == found


def test_style_dictionary_reads_what_dtcg_says(consumers: Read) -> None:
    """Each value is the very one that the export has."""
    content = tokens(
        token("color.blue", "color", "#1f5fd6"),
        token("color.link", None, "{color.blue}"),
        token("gap", "dimension", "4px"),
    )
    written = rendered_json(content, DESIGN_TOKENS, format="dtcg")
    found = consumers(dtcg=written)["style-dictionary"]
    assert {
        "color.blue": written["color"]["blue"]["$value"],
        "color.link": written["color"]["link"]["$value"],
        "gap": written["gap"]["$value"],
    } == found


def test_less_leaves_values_as_they_are(consumers: Read) -> None:
    """It knows no exponents, and evaluates `color()` as a function of its own."""
    given = {
        "plain": ("color", "#1f5fd6", "#1f5fd6"),
        "half": ("color", {"colorSpace": "srgb", "components": [0, 0, 0], "alpha": 0.5}, "rgba(0, 0, 0, 0.5)"),
        "vivid": ("color", {"colorSpace": "display-p3", "components": [1, 0.5, 0]}, "color(display-p3 1 0.5 0)"),
        "missing": ("color", {"colorSpace": "srgb", "components": ["none", 0, 0]}, "rgb(none 0 0)"),
        "soft": ("color", {"colorSpace": "oklch", "components": [0.5, 0.1, 250]}, "oklch(0.5 0.1 250)"),
        "tiny": ("dimension", "1e-7px", "0.0000001px"),
        "small": ("number", 1e-7, "0.0000001"),
        "font": ("fontFamily", ["Inter", "serif"], '"Inter", serif'),
        "1-ease": ("cubicBezier", [0.5, 0, 1, 1], "cubic-bezier(0.5, 0, 1, 1)"),
    }
    content = tokens(*(token(name, kind, value) for name, (kind, value, _) in given.items()))
    less = rendered(content, DESIGN_TOKENS, format="less").decode()
    found = consumers(less=less, uses=[(f"p-{name}", f"@{name}") for name in given])["less"]
    assert {f"p-{name}": expected for name, (_, _, expected) in given.items()} == found


def test_tailwind_makes_classes_of_a_theme(consumers: Read) -> None:
    """A token's name is that of a theme variable; blanks and all."""
    content = tokens(
        token("color.blue", "color", "#1f5fd6"),
        token("color.half", "color", {"colorSpace": "srgb", "components": [0, 0, 0], "alpha": 0.5}),
        token("spacing.gap", "dimension", "4px"),
        token("font.body", "fontFamily", ["Inter", "ui-serif"]),
        token("a b", "number", 1),
    )
    theme = rendered(content, DESIGN_TOKENS, format="tailwind").decode()
    found = consumers(tailwind=theme, uses=["bg-blue", "bg-half", "p-gap", "font-body"])["tailwind"]
    assert {
        ":root, :host --color-blue": "#1f5fd6",
        ":root, :host --color-half": "rgb(0 0 0 / 0.5)",
        ":root, :host --spacing-gap": "4px",
        ":root, :host --font-body": '"Inter", ui-serif',
        ".bg-blue background-color": "var(--color-blue)",
        ".bg-half background-color": "var(--color-half)",
        ".p-gap padding": "var(--spacing-gap)",
        ".font-body font-family": "var(--font-body)",
    } == found


def test_style_dictionary_builds_css_of_its_source(consumers: Read) -> None:
    """With its own transforms for CSS: the names and values of the gateway's CSS, shorthands for what has parts."""
    shadow = {"offsetX": "0", "offsetY": "2px", "blur": "4px", "spread": "0", "color": "#00000080", "inset": True}
    content = tokens(
        token("color.blue", "color", "#1f5fd6"),
        token("color.half", "color", {"colorSpace": "srgb", "components": [0, 0, 0], "alpha": 0.5}),
        token("color.vivid", "color", {"colorSpace": "oklch", "components": [0.7, 0.1, 150], "alpha": 0.5}),
        token("space.gapLarge", "dimension", "1.5rem"),
        token("fast", "duration", "200ms"),
        token("ease", "cubicBezier", [0.4, 0, 1, 1]),
        token("font", "fontFamily", ["Inter", "serif"]),
        token("weight", "fontWeight", "bold"),
        token("line", "border", {"color": "#1f5fd6", "width": "1px", "style": "solid"}),
        token("card", "shadow", shadow),
        token("move", "transition", {"duration": "200ms", "delay": "0ms", "timingFunction": [0.4, 0, 1, 1]}),
    )
    found = consumers(source=rendered_json(content, DESIGN_TOKENS, format="style-dictionary"))["source"]
    assert {
        "color-blue": "#1f5fd6",
        "color-half": "rgba(0, 0, 0, 0.5)",
        "color-vivid": "rgba(111, 176, 125, 0.5)",
        "space-gap-large": "1.5rem",
        "fast": "200ms",
        "ease": "cubic-bezier(0.4, 0, 1, 1)",
        "font": '"Inter", serif',
        "weight": 700,
        "line": "1px solid #1f5fd6",
        "card": "inset 0px 2px 4px 0px #00000080",
        "move": "200ms cubic-bezier(0.4, 0, 1, 1) 0ms",
    } == found
