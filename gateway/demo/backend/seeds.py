"""The initial data of the example backend: workspaces, projects, and tokensets that share most of their tokens."""

from datetime import UTC, datetime

from gateway.demo.backend.design_tokens import DesignToken, Mode, TokenType, Value

# Fixed, so that a restart changes no Last-Modified.
SEEDED_AT = datetime(2025, 6, 2, 9, 0, tzinfo=UTC)
SEED_WORKSPACES = {"brand": "acme", "marketing": "acme", "product": "globex"}
SEED_TOKENSETS = {"acme-core": "brand", "acme-campaign": "marketing", "globex-ui": "product"}
PROJECT_OWNERS = {"website": "acme", "app": "globex"}

# The palette keeps WCAG 2.2 AA in both modes: 4.5:1 for every text on every surface.
_PALETTE: dict[str, str] = {
    "gray.0": "#ffffff", "gray.50": "#f6f7f9", "gray.200": "#dcdfe5", "gray.400": "#a3a9b5",
    "gray.600": "#565d6b", "gray.700": "#3d434f", "gray.800": "#23272f", "gray.950": "#12151b",
    "blue.100": "#dbe8ff", "blue.300": "#8fb8ff", "blue.600": "#1f5fd6", "blue.800": "#173f8f",
    "green.300": "#7fd6a3", "green.700": "#17693a", "red.300": "#ff9c94", "red.700": "#b3261e",
    "amber.300": "#f5c451", "amber.800": "#7a4b00",
}  # fmt: skip
_ROLES: dict[str, tuple[str, str]] = {  # role to its color in light and in dark
    "surface.base": ("gray.0", "gray.950"), "surface.raised": ("gray.50", "gray.800"),
    "text.body": ("gray.950", "gray.50"), "text.muted": ("gray.600", "gray.400"),
    "text.link": ("accent.base", "accent.base"), "text.success": ("green.700", "green.300"),
    "text.danger": ("red.700", "red.300"), "text.warning": ("amber.800", "amber.300"),
    "border.subtle": ("gray.200", "gray.700"), "focus.ring": ("accent.base", "accent.base"),
    "action.background": ("accent.base", "accent.base"), "action.label": ("gray.0", "gray.950"),
}  # fmt: skip
_SCALES: dict[TokenType, dict[str, str]] = {
    "dimension": {
        "space.0": "0px", "space.1": "4px", "space.2": "8px", "space.3": "12px", "space.4": "16px",
        "space.6": "24px", "space.8": "32px", "space.12": "48px", "radius.none": "0px", "radius.sm": "2px",
        "radius.md": "6px", "radius.lg": "12px", "radius.pill": "999px", "font.size.sm": "0.875rem",
        "font.size.md": "1rem", "font.size.lg": "1.25rem", "font.size.xl": "2rem",
        "font.tracking.normal": "0px", "font.tracking.tight": "-0.4px",
    },
    "fontFamily": {"font.family.text": "Inter, system-ui, sans-serif", "font.family.code": "monospace"},
    "fontWeight": {"font.weight.regular": "400", "font.weight.bold": "700"},
    "number": {"font.leading.normal": "1.5", "font.leading.tight": "1.2"},
}  # fmt: skip

# Tokenset id to its accent in light and in dark; the sets share the rest.
_ACCENTS: dict[str, tuple[str, str]] = {
    "acme-core": ("blue.600", "blue.300"),
    "acme-campaign": ("red.700", "red.300"),
    "globex-ui": ("green.700", "green.300"),
}


def seed_tokens(tokenset: str) -> tuple[DesignToken, ...]:
    """Return the initial tokens of an example tokenset. Raise KeyError if no tokenset has that id."""
    roles = {"accent.base": _ACCENTS[tokenset], **_ROLES}
    scales = [DesignToken(name, type_, value) for type_, scale in _SCALES.items() for name, value in scale.items()]
    return (
        *(DesignToken(f"color.{step}", "color", value) for step, value in _PALETTE.items()),
        *(_role(name, light, dark) for name, (light, dark) in roles.items()),
        DesignToken("color.shadow.ambient", "color", "#12151b29", {"dark": "#00000099"}),
        *scales,
        _shadow("sm", "1px", "2px"),
        _shadow("lg", "8px", "24px"),
        _typography("body", "md", "regular", "normal"),
        _typography("heading", "xl", "bold", "tight"),
    )


def _role(name: str, light: str, dark: str) -> DesignToken:
    modes: dict[Mode, Value] = {"dark": f"{{color.{dark}}}"} if dark != light else {}
    return DesignToken(f"color.{name}", "color", f"{{color.{light}}}", modes)


def _shadow(name: str, offset: str, blur: str) -> DesignToken:
    parts = {
        "offsetX": "0px",
        "offsetY": offset,
        "blur": blur,
        "spread": "0px",
        "color": "{color.shadow.ambient}",
    }
    return DesignToken(f"shadow.{name}", "shadow", parts)


def _typography(name: str, size: str, weight: str, spacing: str) -> DesignToken:
    parts = {
        "fontFamily": "{font.family.text}",
        "fontSize": f"{{font.size.{size}}}",
        "fontWeight": f"{{font.weight.{weight}}}",
        "letterSpacing": f"{{font.tracking.{spacing}}}",
        "lineHeight": f"{{font.leading.{spacing}}}",
    }
    return DesignToken(f"typography.{name}", "typography", parts)
