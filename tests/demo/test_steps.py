"""What a step of the story checks and explains."""

import pytest

from gateway.demo.client import Reply
from gateway.demo.steps import Unexpected, expect_field, expect_status, explain_retry_after


def test_another_status_is_unexpected() -> None:
    """The message has both statuses."""
    expect_status(Reply(304, {}, b""), 304)
    with pytest.raises(Unexpected, match="the status is 200, expected 304"):
        expect_status(Reply(200, {}, b""), 304)


@pytest.mark.parametrize("fields", [{}, {"etag": '"strong"'}])
def test_an_absent_or_other_field_is_unexpected(fields: dict[str, str]) -> None:
    """A field that is not there fails like one that says something else."""
    with pytest.raises(Unexpected, match="ETag is "):
        expect_field(Reply(200, fields, b""), "ETag", 'W/"')


@pytest.mark.parametrize(("retry_after", "is_explained"), [("60", False), ("64", True)])
def test_a_retry_after_larger_than_t_is_explained(
    retry_after: str, is_explained: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who compares the two numbers reads why they differ; where they do not, there is nothing to explain."""
    fields = {"retry-after": retry_after, "ratelimit": '"minute";r=0;t=60'}
    explain_retry_after(Reply(429, fields, b""))

    assert is_explained == ("clients do not all come back at once" in capsys.readouterr().out)


def test_a_retry_after_that_is_absent_is_unexpected() -> None:
    """A 429 that does not say when to come back fails the step."""
    with pytest.raises(Unexpected, match="Retry-After is ''"):
        explain_retry_after(Reply(429, {"ratelimit": '"minute";r=0;t=60'}, b""))
