"""A policy document on its way to what requests meet."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from gateway.core.policies.document import PolicyDocument
from gateway.core.policies.grammar import Binding
from gateway.core.policies.reading import Mistake, path_to, unknown_name

Made = TypeVar("Made")


class Draft:
    """One document on its way: what was made of it so far and the mistakes met."""

    def __init__(self, document: PolicyDocument) -> None:
        self.document = document
        self.mistakes: list[Mistake] = []

    def attempt(self, path: str, make: Callable[[], Made]) -> Made | None:
        """What `make` returns; a ValueError becomes a mistake at `path` and None."""
        try:
            return make()
        except ValueError as error:
            self.mistakes.append(Mistake(path, str(error)))
            return None

    def check_names(self, kind: str, names: Iterable[str], known: Mapping[str, object], path: str) -> None:
        """Notes each of `names` that is not among `known`."""
        for index, name in enumerate(names):
            if name not in known:
                self.mistakes.append(Mistake(path_to(path, index), unknown_name(kind, name, known)))


def why_unbound(bound_to: Binding, what: str) -> str:
    """Why not every token of a policy has a project or an owner, in the words of a mistake."""
    bound = "nothing" if bound_to == "none" else f"their {bound_to}"
    return f"the policy's tokens are bound to {bound} and need have no {what}"
