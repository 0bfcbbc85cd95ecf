"""Versions of policies: what is another one, and when several count as a mixture."""

from gateway.core.policies.loading import load_policies
from gateway.core.policies.versions import Mixtures, Serving, gather_versions
from tests.support.policies import SMALL


def version(text: str) -> str:
    return load_policies({"small.toml": text}).policies["small"].version


def test_a_version_is_what_the_file_says() -> None:
    """Comments, order and tests make no other one; a number does."""
    own = version(SMALL)
    tested = SMALL + '[[tests]]\nrequest = "GET /export"\nexpect = 200\n'
    turned = SMALL.replace(
        'name = "small"\nupstream = "http://127.0.0.1:9001"', 'upstream = "http://127.0.0.1:9001"\nname = "small"'
    )
    assert own == version(SMALL + "# a comment\n") == version(tested) == version(turned)
    assert own != version(SMALL.replace("51/minute", "52/minute"))
    assert own != version(
        SMALL.replace(
            'quotas = { minute = "51/minute" }',
            'quotas = { minute = { limit = "51/minute", algorithm = "token-bucket" } }',
        )
    )


def test_processes_are_gathered_by_policy_and_version() -> None:
    """A process that lacks a policy is no version of it."""
    serving = [Serving("b", {"shop": "1", "blog": "7"}), Serving("a", {"shop": "1"}), Serving("c", {"shop": "2"})]
    assert {"blog": {"7": ["b"]}, "shop": {"1": ["a", "b"], "2": ["c"]}} == gather_versions(serving)


def test_a_mixture_is_told_once_as_it_begins_and_ends() -> None:
    """Seen once, it may be a change that not all have read yet. Seen twice it is told; its end is told at once."""
    mixtures = Mixtures()
    one, two = {"shop": {"1": ["a"]}}, {"shop": {"1": ["a"], "2": ["b"]}}
    begins = "the policy shop is served in 2 versions: 1 by a; 2 by b"
    ends = "the policy shop is served in one version again"
    told = [mixtures.see(seen) for seen in (one, two, one, two, two, two, one, one)]
    assert [[], [], [], [], [begins], [], [ends], []] == told
