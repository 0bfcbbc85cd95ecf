"""Colors for systems that know sRGB and Display P3 only: from every space of CSS Color 4 to sRGB.

Components may come out below 0 or above 1: a color that sRGB does not have (extended sRGB). Matrices and functions are
those of CSS Color 4, 10 and 18; `none` is 0 (4.4).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]

_FROM_D50: Matrix = (
    (0.955473421488075, -0.02309845494876471, 0.06325924320057072),
    (-0.0283697093338637, 1.0099953980813041, 0.021041441191917323),
    (0.012314014864481998, -0.020507649298898964, 1.330365926242124),
)
"""Bradford's adaptation of XYZ from D50 to D65."""
_TO_LINEAR_SRGB: Matrix = (
    (12831 / 3959, -329 / 214, -1974 / 3959),
    (-851781 / 878810, 1648619 / 878810, 36519 / 878810),
    (705 / 12673, -2585 / 12673, 705 / 667),
)
_TO_XYZ: Mapping[str, Matrix] = {
    "display-p3": (
        (608311 / 1250200, 189793 / 714400, 198249 / 1000160),
        (35783 / 156275, 247089 / 357200, 198249 / 2500400),
        (0.0, 32229 / 714400, 5220557 / 5000800),
    ),
    "a98-rgb": (
        (573536 / 994567, 263643 / 1420810, 187206 / 994567),
        (591459 / 1989134, 6239551 / 9945670, 374412 / 4972835),
        (53769 / 1989134, 351524 / 4972835, 4929758 / 4972835),
    ),
    "prophoto-rgb": (
        (0.79776664490064230, 0.13518129740053308, 0.03134773412839220),
        (0.28807482881940130, 0.71183523424187300, 0.00008993693872564),
        (0.0, 0.0, 0.82510460251046020),
    ),
    "rec2020": (
        (63426534 / 99577255, 20160776 / 139408157, 47086771 / 278816314),
        (26158966 / 99577255, 472592308 / 697040785, 8267143 / 139408157),
        (0.0, 19567812 / 697040785, 295819943 / 278816314),
    ),
}
"""Linear light of a space to XYZ, of D65 but for ProPhoto, which has D50."""
_OKLAB_TO_LMS: Matrix = (
    (1.0, 0.3963377773761749, 0.2158037573099136),
    (1.0, -0.1055613458156586, -0.0638541728258133),
    (1.0, -0.0894841775298119, -1.2914855480194092),
)
_LMS_TO_XYZ: Matrix = (
    (1.2268798758459243, -0.5578149944602171, 0.2813910456659647),
    (-0.0405757452148008, 1.1122868032803170, -0.0717110580655164),
    (-0.0763729366746601, -0.4214933324022432, 1.5869240198367816),
)
_D50_WHITE: Triple = (0.3457 / 0.3585, 1.0, (1.0 - 0.3457 - 0.3585) / 0.3585)
_POLAR = frozenset({"lch", "oklch"})


def to_srgb(space: str, components: Sequence[Any]) -> Triple:
    """Convert to red, green and blue, each from 0 to 1 if sRGB has the color."""
    first, second, third = (0.0 if one == "none" else float(one) for one in components)
    if space == "srgb":
        return first, second, third
    if space == "hsl":
        return _from_hsl(first, second / 100, third / 100)
    if space == "hwb":
        return _from_hwb(first, second / 100, third / 100)
    if space == "srgb-linear":
        return _each(_encode_srgb, (first, second, third))
    return _each(_encode_srgb, _multiply(_TO_LINEAR_SRGB, _to_xyz(space, (first, second, third))))


def _to_xyz(space: str, components: Triple) -> Triple:
    """Convert to XYZ with the white point D65."""
    if space in _POLAR:
        components = _from_polar(components)
    if space in ("oklab", "oklch"):
        return _multiply(_LMS_TO_XYZ, _each(lambda one: one**3, _multiply(_OKLAB_TO_LMS, components)))
    if space in ("lab", "lch"):
        return _multiply(_FROM_D50, _from_lab(components))
    if space == "xyz-d50":
        return _multiply(_FROM_D50, components)
    if space == "xyz-d65":
        return components
    found = _multiply(_TO_XYZ[space], _each(_DECODERS[space], components))
    return _multiply(_FROM_D50, found) if space == "prophoto-rgb" else found


def _each(function: Callable[[float], float], three: Triple) -> Triple:
    first, second, third = three
    return function(first), function(second), function(third)


def _multiply(matrix: Matrix, vector: Triple) -> Triple:
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def _signed(value: float, magnitude: float) -> float:
    return -magnitude if value < 0 else magnitude


def _encode_srgb(value: float) -> float:
    size = abs(value)
    return 12.92 * value if size <= 0.0031308 else _signed(value, 1.055 * size ** (1 / 2.4) - 0.055)


def _decode_srgb(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _decode_prophoto(value: float) -> float:
    return value / 16 if value <= 16 / 512 else value**1.8


_DECODERS: Mapping[str, Callable[[float], float]] = {
    "display-p3": _decode_srgb,
    "a98-rgb": lambda value: value ** (563 / 256),
    "prophoto-rgb": _decode_prophoto,
    "rec2020": lambda value: value**2.4,
}


def _from_polar(components: Triple) -> Triple:
    lightness, chroma, hue = components
    angle = math.radians(hue)
    return lightness, chroma * math.cos(angle), chroma * math.sin(angle)


def _from_lab(components: Triple) -> Triple:
    lightness, a, b = components
    middle = (lightness + 16) / 116
    first, third = middle + a / 500, middle - b / 200
    kappa, epsilon = 24389 / 27, 216 / 24389
    x, z = (one**3 if one**3 > epsilon else (116 * one - 16) / kappa for one in (first, third))
    y = middle**3 if lightness > kappa * epsilon else lightness / kappa
    white_x, white_y, white_z = _D50_WHITE
    return x * white_x, y * white_y, z * white_z


def _from_hsl(hue: float, saturation: float, lightness: float) -> Triple:
    reach = saturation * min(lightness, 1 - lightness)

    def channel(offset: float) -> float:
        place = (offset + hue / 30) % 12
        return lightness - reach * max(-1, min(place - 3, 9 - place, 1))

    return channel(0), channel(8), channel(4)


def _from_hwb(hue: float, whiteness: float, blackness: float) -> Triple:
    if whiteness + blackness >= 1:
        gray = whiteness / (whiteness + blackness)
        return gray, gray, gray
    return _each(lambda one: one * (1 - whiteness - blackness) + whiteness, _from_hsl(hue, 1, 0.5))
