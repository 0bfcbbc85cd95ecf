"""What makes a step of the story fail."""

import pytest

from gateway.cli.demo.client import Reply
from gateway.cli.demo.steps import Unexpected, expect_field, expect_status


def test_another_status_is_unexpected() -> None:
    """The message has both statuses."""
    expect_status(Reply(304, {}, b""), 304)
    with pytest.raises(Unexpected, match="the status is 200, not 304"):
        expect_status(Reply(200, {}, b""), 304)


@pytest.mark.parametrize("fields", [{}, {"etag": '"strong"'}])
def test_an_absent_or_other_field_is_unexpected(fields: dict[str, str]) -> None:
    """A field that is not there fails like one that says something else."""
    with pytest.raises(Unexpected, match="ETag is "):
        expect_field(Reply(200, fields, b""), "ETag", 'W/"')
