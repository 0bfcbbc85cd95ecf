"""Small documents that show what an export looks like, before there is a token to pull one with."""

from collections.abc import Mapping

import msgspec

from gateway.core.variants.variant import DocumentKind, Variant

_LANGUAGES = ("de", "en")
_TEXTS: Mapping[str, Mapping[str, str | Mapping[str, str]]] = {
    "home.hero.headline": {"de": "Willkommen", "en": "Welcome", "es": "Te damos la bienvenida", "fr": "Bienvenue"},
    "cart.checkout": {"de": "Zur Kasse", "en": "Checkout", "es": "Finalizar compra", "fr": "Commander"},
    "cart.items": {
        "de": {"one": "{n} Artikel", "other": "{n} Artikel"},
        "en": {"one": "{n} item", "other": "{n} items"},
        "fr": {"one": "{n} article", "other": "{n} articles"},
    },
}
_TOKENS = (
    ("color.brand.primary", "color", "#1f5fd6", "#8ab4ff"),
    ("color.text.default", "color", "#1a1d23", "#f2f4f8"),
    ("color.text.link", None, "{color.brand.primary}", None),
    ("space.medium", "dimension", "16px", None),
    ("font.size.body", "dimension", "1rem", None),
)


def build_sample(kind: DocumentKind, variant: Variant) -> bytes:
    """A document that has what the variant asks for: its languages and its statuses, or its mode."""
    return msgspec.json.encode(_build_texts(variant) if kind == "translations" else _build_tokens(variant))


def _build_texts(variant: Variant) -> object:
    languages = variant.lang or _LANGUAGES
    statuses = variant.status or (None,)
    return {
        "entries": [
            {
                "id": f"n_{81 + index}",
                "key": key,
                "status": statuses[index % len(statuses)],
                "values": {language: texts.get(language) or texts["en"] for language in languages},
            }
            for index, (key, texts) in enumerate(_TEXTS.items())
        ]
    }


def _build_tokens(variant: Variant) -> object:
    mode = variant.mode or "light"
    return {
        "modes": [mode],
        "tokens": [
            {"name": name, "type": kind, "value": (dark if mode == "dark" and dark else value)}
            for name, kind, value, dark in _TOKENS
        ],
    }
