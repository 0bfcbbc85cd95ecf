"""How answers look in the transcript."""

import pytest

from gateway.cli.demo.client import Reply
from gateway.cli.demo.transcript import fold, show_reply


def test_fields_stand_in_two_columns_and_absent_ones_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Every field name leaves room before its value, the longest one too."""
    fields = {"www-authenticate": "Bearer", "etag": 'W/"a"'}
    show_reply(Reply(401, fields, b""), "WWW-Authenticate", "ETag", "Retry-After")

    assert (
        capsys.readouterr().out == '   401 Unauthorized\n     WWW-Authenticate  Bearer\n     ETag              W/"a"\n'
    )


def test_a_folded_value_loses_nothing() -> None:
    """The lines of a long value, joined again, are the value."""
    value = 'Bearer realm="demo", error="insufficient_scope", error_description="May not do this.", scope="write"'

    assert len(fold(value)) == 2
    assert " ".join(fold(value)) == value
    assert fold("") == [""]
