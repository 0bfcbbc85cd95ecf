"""Documents of the size that a large product has: real names of the CLDR, tiled until there are enough."""

import itertools
from collections.abc import Iterator

import msgspec
from babel import Locale

LANGUAGES = tuple(
    "ar bg cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nb nl pl pt_BR ro ru sv zh_Hans".split()  # noqa: SIM905 - a list of words reads best as one
)
KEYS = 20_000
STATUSES = ("shipped", "approved", "review", "draft")
TOKENS = 5_000


def build_translations(keys: int = KEYS) -> bytes:
    """Build entries in thirty languages; one in ten has no key, and one value in twenty is missing."""
    names = [_names(Locale.parse(language)) for language in LANGUAGES]
    codes = sorted(set(names[0]).intersection(*names[1:]))
    entries = []
    for index, code in zip(range(keys), itertools.cycle(codes), strict=False):
        values = {
            language.replace("_", "-"): f"{known[code]} {index}"
            for language, known in zip(LANGUAGES, names, strict=True)
            if (index + len(language)) % 20
        }
        entry = {"id": f"n_{index:06x}", "status": STATUSES[index % 4], "values": values}
        entries.append(entry if index % 10 == 0 else {**entry, "key": f"{code}.part{index // len(codes)}"})
    return msgspec.json.encode({"entries": entries})


def build_tokens(count: int = TOKENS) -> bytes:
    """Build colors, sizes, shadows and type, four in five of them aliases, in two modes."""
    return msgspec.json.encode({"modes": ["light", "dark"], "tokens": list(_tokens(count))})


def _names(locale: Locale) -> dict[str, str]:
    kinds = {"territory": locale.territories, "language": locale.languages, "script": locale.scripts}
    return {f"{kind}.{code}": str(names[code]) for kind, names in kinds.items() for code in names}


def _tokens(count: int) -> Iterator[dict[str, object]]:
    for number in range(count // 5):
        group = f"group{number // 50}.member{number}"
        color = f"{{{group}.color}}"
        shade = f"#{number * 7919 % 0xFFFFFF:06x}"
        yield {"name": f"{group}.color", "type": "color", "value": shade, "modes": {"dark": f"{shade}80"}}
        yield {"name": f"{group}.text", "type": "color", "value": color}
        yield {"name": f"{group}.size", "type": "dimension", "value": f"{number % 64}px"}
        shadow = {"offsetX": "0", "offsetY": "2px", "blur": f"{{{group}.size}}", "spread": "0", "color": color}
        yield {"name": f"{group}.shadow", "type": "shadow", "value": [shadow, shadow]}
        font = {"fontFamily": ["Inter", "sans-serif"], "fontWeight": 600, "letterSpacing": "0", "lineHeight": 1.5}
        yield {"name": f"{group}.type", "type": "typography", "value": {**font, "fontSize": f"{{{group}.size}}"}}
