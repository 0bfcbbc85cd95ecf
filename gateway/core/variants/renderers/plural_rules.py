"""How gettext finds the plural form of a number, language by language: the rules of the CLDR for whole numbers.

Babel knows the same rules, but its `to_gettext` writes a variable that gettext does not have (`e`, in French and
Spanish). With all of the CLDR it takes 36 MB, so the tests have it, and compare; an installation does not.
"""

from collections.abc import Mapping

Rule = tuple[tuple[str, str], ...]
"""Categories in the order of the CLDR, each with its condition in C, which the last does not need."""

_OTHER: Rule = (("other", ""),)
_ONE: Rule = (("one", "n == 1"), ("other", ""))
_NONE_OR_ONE: Rule = (("one", "n <= 1"), ("other", ""))
_TWO: Rule = (("one", "n == 1"), ("two", "n == 2"), ("other", ""))
_ZERO: Rule = (("zero", "n == 0"), ("one", "n == 1"), ("other", ""))
_MILLIONS = ("many", "n != 0 && n % 1000000 == 0")
_ENDS_IN_ONE = "n % 10 == 1 && n % 100 != 11"
_FEW = "n % 10 >= 2 && n % 10 <= 4 && (n % 100 < 12 || n % 100 > 14)"
_SLAVIC_MANY = "n % 10 == 0 || n % 10 >= 5 || (n % 100 >= 11 && n % 100 <= 14)"
_RUSSIAN: Rule = (("one", _ENDS_IN_ONE), ("few", _FEW), ("many", ""))
_TEENS = "n % 100 >= 11 && n % 100 <= 19"


def _all(languages: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(languages.split(), rule)


_PORTUGUESE = "pt-PT pt-AO pt-CH pt-CV pt-GQ pt-GW pt-LU pt-MO pt-MZ pt-ST pt-TL"
"""Of everywhere but Brazil."""
_MILLIONS_TOO = f"ca es gl it lld scn vec {_PORTUGUESE}"

RULES: Mapping[str, Rule] = {
    **_all(
        "bm bo dz hnj id ig ii ja jbo jv jw kde kea km ko lkt lo ms my nqo osa sah ses sg su th to tpi wo yo yue zh",
        _OTHER,
    ),
    **_all(
        "af an asa ast az bal bem bez bg brx ce cgg chr ckb da de dv ee el en eo et eu fi fo fur fy gsw ha haw hu "
        "ia ie io jgo ji jmc ka kaj kcg kk kkj kl ks ksb ku ky lb lg lij mas mgo ml mn mr nah nb nd ne nl nn nnh "
        "no nr ny nyn om or os pap ps rm rof rwk saq sc sd sdh seh sn so sq ss ssy st sv sw syr ta te teo tig tk "
        "tn tr ts ug ur uz ve vo vun wae xh xog yi",
        _ONE,
    ),
    **_all("ak am as bho bn csw doi fa ff gu guw hi hy kab kn kok ln mg nso pa pcm si tg ti vi wa zu", _NONE_OR_ONE),
    **_all("he iu naq sat se sma smi smj smn sms", _TWO),
    **_all("blo cv ksh lag", _ZERO),
    **_all(_MILLIONS_TOO, (("one", "n == 1"), _MILLIONS, ("other", ""))),
    **_all("fr pt", (("one", "n <= 1"), _MILLIONS, ("other", ""))),
    **_all("be ru uk", _RUSSIAN),
    **_all("bs hr sh sr", (("one", _ENDS_IN_ONE), ("few", _FEW), ("other", ""))),
    **_all("cs sk", (("one", "n == 1"), ("few", "n >= 2 && n <= 4"), ("other", ""))),
    "pl": (("one", "n == 1"), ("few", _FEW), ("many", "")),
    **_all("mo ro", (("one", "n == 1"), ("few", "n == 0 || (n % 100 >= 1 && n % 100 <= 19)"), ("other", ""))),
    "lt": (("one", f"n % 10 == 1 && !({_TEENS})"), ("few", f"n % 10 >= 2 && !({_TEENS})"), ("other", "")),
    **_all("lv prg", (("zero", f"n % 10 == 0 || ({_TEENS})"), ("one", _ENDS_IN_ONE), ("other", ""))),
    **_all("is mk", (("one", _ENDS_IN_ONE), ("other", ""))),
    **_all(
        "ceb fil tl",
        (("one", "(n >= 1 && n <= 3) || (n % 10 != 4 && n % 10 != 6 && n % 10 != 9)"), ("other", "")),
    ),
    **_all(
        "dsb hsb",
        (("one", "n % 100 == 1"), ("two", "n % 100 == 2"), ("few", "n % 100 >= 3 && n % 100 <= 4"), ("other", "")),
    ),
    "sl": (("one", "n % 100 == 1"), ("two", "n % 100 == 2"), ("few", "n % 100 >= 3 && n % 100 <= 4"), ("other", "")),
    **_all(
        "ar ars",
        (
            ("zero", "n == 0"),
            ("one", "n == 1"),
            ("two", "n == 2"),
            ("few", "n % 100 >= 3 && n % 100 <= 10"),
            ("many", "n % 100 >= 11"),
            ("other", ""),
        ),
    ),
    "cy": (
        ("zero", "n == 0"),
        ("one", "n == 1"),
        ("two", "n == 2"),
        ("few", "n == 3"),
        ("many", "n == 6"),
        ("other", ""),
    ),
    "ga": (
        ("one", "n == 1"),
        ("two", "n == 2"),
        ("few", "n >= 3 && n <= 6"),
        ("many", "n >= 7 && n <= 10"),
        ("other", ""),
    ),
    "gd": (
        ("one", "n == 1 || n == 11"),
        ("two", "n == 2 || n == 12"),
        ("few", "(n >= 3 && n <= 10) || (n >= 13 && n <= 19)"),
        ("other", ""),
    ),
    "gv": (("one", "n % 10 == 1"), ("two", "n % 10 == 2"), ("few", "n % 20 == 0"), ("other", "")),
    "mt": (
        ("one", "n == 1"),
        ("two", "n == 2"),
        ("few", "n == 0 || (n % 100 >= 3 && n % 100 <= 10)"),
        ("many", _TEENS),
        ("other", ""),
    ),
    "shi": (("one", "n <= 1"), ("few", "n >= 2 && n <= 10"), ("other", "")),
    "tzm": (("one", "n <= 1 || (n >= 11 && n <= 99)"), ("other", "")),
}
"""Of the languages of the CLDR 42 and later; a territory has its language's, unless it stands here itself."""


def find_rule(language: str) -> Rule | None:
    """Return the rule of a language such as `de` or `pt-BR`, or None if it is unknown."""
    tag = language.replace("_", "-")
    return RULES.get(tag) or RULES.get(tag.partition("-")[0].lower())


def write_header(rule: Rule) -> str:
    """Write the value of `Plural-Forms` (GNU gettext, 11.2.6)."""
    *conditions, _ = rule
    choice = " : ".join(
        [*(f"({condition}) ? {index}" for index, (_, condition) in enumerate(conditions)), str(len(rule) - 1)]
    )
    return f"nplurals={len(rule)}; plural=({choice});"
