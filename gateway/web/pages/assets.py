"""Style sheet, scripts and icons: read once, and kept by browsers until their content changes."""

import hashlib
from pathlib import Path

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
ADDRESS = "/static"
FOR_A_YEAR = "public, max-age=31536000, immutable"
"""RFC 8246: the address changes with the content."""

_CONTENTS = {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir()) if file.suffix in TYPES}
_VERSIONS = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _CONTENTS.items()}


def asset_address(name: str) -> str:
    """Where a page finds the file in its present version."""
    return f"{ADDRESS}/{_VERSIONS[name]}/{name}"


@get(ADDRESS + "/{version:str}/{name:str}", sync_to_thread=False)
def show_asset(version: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """One file. Under another version's address it is given too, for pages that are just being replaced."""
    if name not in _CONTENTS:
        raise NotFoundException
    kept = FOR_A_YEAR if version == _VERSIONS[name] else "no-cache"
    return Response(_CONTENTS[name], media_type=TYPES[Path(name).suffix], headers={"Cache-Control": kept})
