"""Requests that the tests of the example backend share."""

import re
from datetime import UTC, datetime

ACME = {"X-Gateway-Owner": "acme"}
GLOBEX = {"X-Gateway-Owner": "globex"}
EXPORT = "/api/v1/tokensets/acme-core/modes/light/export"
DOCUMENT = "/api/v1/tokensets/acme-core/document"
TRANSLATIONS = "/api/v1/projects/website/translations/export"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def css_properties(sheet: str) -> dict[str, str]:
    return dict(re.findall(r"(--[a-z0-9-]+): (.+);", sheet))
