"""The nouns of the example backend, kept in memory.

Rule: what another owner has is answered exactly as what does not exist.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Annotated

import msgspec
from litestar import exceptions as refusals

from gateway.demo.backend.design_tokens import MODES, DesignToken, validate_tokens
from gateway.demo.backend.seeds import PROJECT_OWNERS, SEED_TOKENSETS, SEED_WORKSPACES, SEEDED_AT, seed_tokens


class WorkspaceContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a client's request about a workspace."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Workspace(msgspec.Struct, frozen=True):
    """A place for tokensets; only its owner sees it."""

    id: str
    owner: str
    name: str


class Tokenset(msgspec.Struct, frozen=True, rename="camel"):
    """A set of design tokens; `modified_at` becomes the Last-Modified of its exports."""

    id: str
    workspace: str
    modified_at: datetime
    modes: tuple[str, ...] = MODES


class Catalog:
    """All workspaces, tokensets and tokens, in memory.

    Every method takes the owner who asks, and raises NotFoundException for what is absent or another's.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._created = Counter[str]()
        self._workspaces = {id_: Workspace(id_, owner, id_.title()) for id_, owner in SEED_WORKSPACES.items()}
        self._tokensets = {id_: Tokenset(id_, place, SEEDED_AT) for id_, place in SEED_TOKENSETS.items()}
        self._tokens = {id_: seed_tokens(id_) for id_ in SEED_TOKENSETS}

    def workspaces_of(self, owner: str) -> list[Workspace]:
        return [workspace for workspace in self._workspaces.values() if workspace.owner == owner]

    def workspace(self, owner: str, id_: str) -> Workspace:
        workspace = self._workspaces.get(id_)
        if workspace is None or workspace.owner != owner:
            raise refusals.NotFoundException("no such workspace")
        return workspace

    def add_workspace(self, owner: str, name: str) -> Workspace:
        # Counted for each owner and hashed, so that an id does not show how many workspaces others have.
        self._created[owner] += 1
        ordinal = f"{owner}/{self._created[owner]}"
        workspace = Workspace(f"ws_{sha256(ordinal.encode()).hexdigest()[:12]}", owner, name)
        self._workspaces[workspace.id] = workspace
        return workspace

    def rename_workspace(self, owner: str, id_: str, name: str) -> Workspace:
        self._workspaces[id_] = msgspec.structs.replace(self.workspace(owner, id_), name=name)
        return self._workspaces[id_]

    def remove_workspace(self, owner: str, id_: str) -> None:
        for tokenset in self.tokensets_in(owner, id_):
            del self._tokensets[tokenset.id], self._tokens[tokenset.id]
        del self._workspaces[id_]

    def tokensets_in(self, owner: str, workspace_id: str) -> list[Tokenset]:
        workspace = self.workspace(owner, workspace_id)
        return [tokenset for tokenset in self._tokensets.values() if tokenset.workspace == workspace.id]

    def tokenset(self, owner: str, id_: str) -> Tokenset:
        tokenset = self._tokensets.get(id_)
        if tokenset is None or self._workspaces[tokenset.workspace].owner != owner:
            raise refusals.NotFoundException("no such tokenset")
        return tokenset

    def tokens(self, owner: str, tokenset_id: str) -> tuple[DesignToken, ...]:
        return self._tokens[self.tokenset(owner, tokenset_id).id]

    def add_token(self, owner: str, tokenset_id: str, token: DesignToken) -> None:
        """Add a token. Raise ClientException that says why if the tokenset could not be exported with it."""
        tokens = (*self.tokens(owner, tokenset_id), token)
        # Nothing else in here: NotFoundException is a ValueError too.
        try:
            validate_tokens(tokens)
        except ValueError as error:
            raise refusals.ClientException(str(error)) from error
        self._tokens[tokenset_id] = tokens
        changed = msgspec.structs.replace(self._tokensets[tokenset_id], modified_at=self._now())
        self._tokensets[tokenset_id] = changed


def may_read_project(project: str, *, named_project: str | None, owner: str) -> bool:
    """Return whether a request may read the project: it names the project, or names none and is its owner's."""
    if project not in PROJECT_OWNERS:
        return False
    return project == named_project if named_project is not None else PROJECT_OWNERS[project] == owner
