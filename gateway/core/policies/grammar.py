"""The formats of texts and numbers in a policy file."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

END = r"$(?!\n)"
"""The end of a text in Python too, where `$` allows a line break after it."""
Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}" + END, description="A lower-case name, such as tokencraft")
]
ScopeName = Annotated[
    str,
    Meta(pattern=r"^[!#-\[\]-~]{1,128}" + END, description="A scope-token of RFC 6749 3.3, such as projects:read"),
]
Duration = Annotated[
    str, Meta(pattern=r"^[0-9]{1,9}[smhdw]" + END, description="A whole number and s, m, h, d or w: 10m")
]
_URL = r"https?://(\[[0-9a-fA-F:.]+\]|[^\s/?#@:\[\]]+)(:[0-9]{1,5})?(/[^\s?#]*)?|unix:/[!-~]+"
_URL_DESCRIPTION = "A URL of scheme http or https, host, port and an optional path prefix, or unix: and a path"
Url = Annotated[str, Meta(pattern=f"^({_URL}){END}", description=_URL_DESCRIPTION)]
Backend = Annotated[str, Meta(pattern=f"^(none|{_URL}){END}", description=_URL_DESCRIPTION)]
NO_BACKEND = "none"
"""Replaces the URL if the app itself or another proxy answers the requests."""
PathPrefix = Annotated[
    str, Meta(pattern=r"^/[!-~]*" + END, description="A path that begins with a slash, such as /api/v1")
]
FilePath = Annotated[str, Meta(pattern=r"^/[^\x00]+" + END, description="The absolute path of a file")]
FieldName = Annotated[
    str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}" + END, description="A field name, such as X-Environment")
]
FieldValue = Annotated[
    str, Meta(pattern=r"^([!-~]([ -~]*[!-~])?)?" + END, description="A field value: printable ASCII, no spaces around")
]
Issuer = Annotated[
    str,
    Meta(
        pattern=r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])[!-~]*[!-.0-~]" + END,
        max_length=255,
        description="An https:// URL without a slash at its end, or http:// of this machine for tests",
    ),
]
Host = Annotated[str, Meta(pattern=r"^[a-z0-9.-]{1,253}" + END, description="A host name in lower case, without port")]
BackendHost = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?" + END,
        description="`client`, `target`, or a host name in lower case, with or without a port",
    ),
]
Prefix = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}" + END, description="Up to 32 letters, digits, hyphens and underscores")
]
OptionName = Annotated[
    str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,23}" + END, description="Up to 24 letters, digits, - and _")
]
Parameter = Annotated[
    str, Meta(pattern=r"^\{[a-z][a-z0-9_]*\}" + END, description="A parameter in braces, such as {mode}")
]
Binding: TypeAlias = Literal["project", "owner", "none"]
"""What each token of a policy is bound to; it may also name the others."""
Status = Annotated[int, Meta(ge=100, le=599)]
Units = Annotated[int, Meta(ge=0, le=1_000_000)]
