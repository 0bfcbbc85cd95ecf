"""How answers look in the transcript."""

import pytest

from gateway.demo.client import Reply
from gateway.demo.transcript import fold, show_command, show_reply
from tests.demo.shell import commands_in


def test_fields_stand_in_two_columns_and_absent_ones_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Every field name leaves room before its value, the longest one too."""
    fields = {"www-authenticate": "Bearer", "etag": 'W/"a"'}
    show_reply(Reply(401, fields, b""), "WWW-Authenticate", "ETag", "Retry-After")

    shown = '     401 Unauthorized\n       WWW-Authenticate  Bearer\n       ETag              W/"a"\n'
    assert shown == capsys.readouterr().out


def test_only_commands_stand_where_commands_stand(capsys: pytest.CaptureFixture[str]) -> None:
    """A command of several lines is one command, and an answer is none."""
    show_command("curl -i", '"$EXPORT"')
    show_reply(Reply(200, {"etag": 'W/"a"'}, b""), "ETag")

    assert ['   curl -i \\\n     "$EXPORT"'] == commands_in(capsys.readouterr().out)


def test_a_folded_value_loses_nothing() -> None:
    """The lines of a long value, joined again, are the value."""
    value = 'Bearer realm="demo", error="insufficient_scope", error_description="May not do this.", scope="write"'

    assert 2 == len(fold(value))
    assert value == " ".join(fold(value))
    assert [""] == fold("")
