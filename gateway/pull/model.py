"""What is pulled, and what came of it."""

from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

DEFAULT_VARIABLE = "GATEWAY_TOKEN"
DEFAULT_FIELD = "Authorization"


class Export(msgspec.Struct, frozen=True):
    """One export and the file that it is pulled into."""

    url: str
    output: Path
    token_variable: str
    """The variable of the environment that has the token."""
    field: str
    """The field that carries the token; `Authorization` carries it behind `Bearer`."""
    is_exchanged: bool = False
    """Whether the token is one that the job got for its ID token, because the variable is empty."""

    @property
    def holder(self) -> tuple[str, str]:
        """What has a token of its own: the server and the variable."""
        return self.origin, self.token_variable

    @property
    def origin(self) -> str:
        """Scheme and authority of the URL."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def build_credential(self, token: str) -> tuple[str, str]:
        """Return the field that carries the token."""
        return self.field, f"Bearer {token}" if self.field.lower() == "authorization" else token


class Result(StrEnum):
    """What came of one export."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    UNREACHABLE = "unreachable"
    LIMITED = "limited"
    UNWRITABLE = "unwritable"
    DAMAGED = "damaged"
    REFUSED = "refused"


EXIT_CODES = {
    Result.UNCHANGED: 0,
    Result.CHANGED: 0,
    Result.UNREACHABLE: 4,
    Result.LIMITED: 5,
    Result.UNWRITABLE: 7,
    Result.DAMAGED: 6,
    Result.REFUSED: 3,
}
"""Of a run, by the last of these that came of one of its exports. 2 is a mistake in the command itself."""
CHANGED_CODE = 10
"""Of a run with `--check` or `--exit-code` in which an export has changed, and nothing went wrong."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one export, as `--json` prints it."""

    url: str
    file: str
    result: Result
    status: int = 0
    """Of the last answer; 0 if there was none."""
    received_bytes: int = 0
    """Of content, as it came over the network."""
    requests: int = 0
    message: str = ""
    """What went wrong and what to do, in a sentence; empty if nothing did."""
    token_expires_at: str = ""
    """RFC 3339, if the token expires within two weeks."""


def exit_code(outcomes: list[Outcome], *, tells_changes: bool) -> int:
    """Return the exit code of a run; `tells_changes` if a change has a code of its own."""
    order = list(EXIT_CODES)
    worst = max((outcome.result for outcome in outcomes), key=order.index, default=Result.UNCHANGED)
    return CHANGED_CODE if worst is Result.CHANGED and tells_changes else EXIT_CODES[worst]
