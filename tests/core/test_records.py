"""What is kept of a token."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.quotas import Override
from gateway.core.records import AccessRecord, TokenRecord, decode_record, encode_record
from tests.core.samples import NOW, RECORD


@given(st.from_type(TokenRecord))
def test_a_record_is_read_back(record: TokenRecord) -> None:
    """Decoding an encoded record gives the record, whatever its texts contain."""
    times = (record.not_before or 0, record.expires_at or 0, record.created_at)
    if all(-(2**63) <= time < 2**63 for time in times):
        assert record == decode_record(encode_record(record))


def test_a_record_is_a_json_array_in_the_order_of_its_fields() -> None:
    """The admission script finds each field by its position."""
    positions = {name: index for index, name in enumerate(TokenRecord.__struct_fields__)}
    array = json.loads(encode_record(RECORD))
    assert [RECORD.digest, RECORD.policy, True, None, None, "read write", "pro", RECORD.lineage] == array[:8]
    appended = {"predecessor": 13, "successor": 14, "overrides": 15}
    assert {"project": 8, "owner": 9, "name": 10, "shown": 11, "created_at": 12, **appended} == {
        name: position for name, position in positions.items() if position >= 8
    }


def test_a_record_from_before_a_field_was_appended_stays_as_it_was() -> None:
    """It is decoded, and encoded again it is the same bytes: a change compares them."""
    written = b'["%s","shop",true,null,null,"read","pro","%s","website","acme","nightly","shp_0123",1799913600]' % (
        b"ab" * 32,
        b"ab" * 12,
    )
    record = decode_record(written)
    assert ("", "") == (record.predecessor, record.successor)
    assert written == encode_record(record)


def test_a_record_with_fields_of_a_later_version_is_read() -> None:
    """While versions are exchanged, a worker of the older one still knows the tokens that the newer one has written."""
    known = replace(RECORD, overrides=(Override("minute:60", 5, 5, NOW, "why", "who", NOW),))
    assert known == decode_record(encode_record(known)[:-1] + b',"more",7]')


@pytest.mark.parametrize("name", ["credential", "authorization", "digest", "fields", "query", "text"])
def test_no_field_of_the_access_log_can_hold_a_credential(name: str) -> None:
    """Nothing that a client presents to authenticate itself has a place in the access log."""
    assert name not in AccessRecord.__struct_fields__


def test_what_is_not_known_of_a_request_is_left_out() -> None:
    """An access record of a request that matched nothing has only what every request has."""
    record = AccessRecord(time=NOW, request_id="1", client="", method="GET", host="", path="/", status=404)
    assert ("", "", "") == (record.policy, record.token, record.reason)
