"""What is kept of a token."""

import json
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.quotas.model import Override
from gateway.core.tokens.records import (
    LAST_USE_OFFSET,
    LAST_USE_WIDTH,
    AccessRecord,
    TokenRecord,
    decode_record,
    encode_record,
    without_use,
)
from gateway.core.tokens.text import token_id
from tests.core.samples import NOW, RECORD

times = st.integers(-(2**63), 2**63 - 1)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
records = st.builds(
    TokenRecord,
    last_use=st.integers(0, 10**LAST_USE_WIDTH - 1),
    digest=digests,
    not_before=st.none() | times,
    expires_at=st.none() | times,
    created_at=times,
    lineage=digests.map(token_id),
)


@given(records, st.booleans())
def test_a_record_is_read_back(record: TokenRecord, is_first: bool) -> None:
    """Decoding an encoded record under its id gives the record, whatever its texts contain."""
    if is_first:
        record = replace(record, lineage=token_id(record.digest))
    assert record == decode_record(token_id(record.digest), encode_record(record))


def test_a_record_says_nothing_twice() -> None:
    """Of the digest it holds what the id in its name has not, and of a lineage of one nothing."""
    array = json.loads(encode_record(RECORD))
    rest = urlsafe_b64decode(array[1] + "=")
    assert bytes.fromhex(RECORD.digest[24:]) == rest
    assert "" == array[8]
    assert ["cd" * 12] == json.loads(encode_record(replace(RECORD, lineage="cd" * 12)))[8:9]


@given(records, st.integers(0, 10**LAST_USE_WIDTH - 1))
def test_a_last_use_is_written_in_place(record: TokenRecord, last_use: int) -> None:
    """Ten characters behind the bracket hold it, whatever it is and whatever follows: all else stays byte for byte."""
    written = encode_record(record)
    in_place = written[:LAST_USE_OFFSET] + b"%10d" % last_use + written[LAST_USE_OFFSET + LAST_USE_WIDTH :]
    assert in_place == encode_record(replace(record, last_use=last_use))
    assert without_use(written) == without_use(in_place)
    assert last_use == json.loads(in_place)[0]


def test_a_record_is_a_json_array_in_the_order_of_its_fields() -> None:
    """The admission script finds each field by its position."""
    positions = {name: index for index, name in enumerate(TokenRecord.__struct_fields__)}
    array = json.loads(encode_record(RECORD))
    assert [RECORD.policy, True, None, None, "read write", "pro"] == array[2:8]
    appended = {"predecessor": 14, "successor": 15, "parent": 16, "overrides": 17}
    appended |= {"description": 18, "updated_at": 19, "number": 20, "made_by": 21, "disabled_by": 22}
    assert {"project": 9, "owner": 10, "name": 11, "shown": 12, "created_at": 13, **appended} == {
        name: position for name, position in positions.items() if position >= 9
    }


def test_a_record_from_before_a_field_was_appended_stays_as_it_was() -> None:
    """It is decoded, and encoded again it is the same bytes: a change compares them."""
    rest = b"q6urq6urq6urq6urq6urq6urq6s"
    written = (
        b'[1799913700,"%s","shop",true,null,null,"read","pro","","website","acme","nightly","shp_0123",1799913600]'
        % rest
    )
    record = decode_record("ab" * 12, written)
    assert "" == record.predecessor
    assert "" == record.successor
    assert ["", "", ""] == [record.parent, record.made_by, record.disabled_by]
    assert written == encode_record(record)


def test_a_record_with_fields_of_a_later_version_is_read() -> None:
    """While versions are exchanged, a worker of the older one still knows the tokens that the newer one has written."""
    overrides = (Override("minute:60", 5, 5, NOW, "why", "who", NOW),)
    known = replace(RECORD, parent="cd" * 12, overrides=overrides, description="d", updated_at=NOW, number=7)
    known = replace(known, made_by="ef" * 12, disabled_by="01" * 12)
    assert known == decode_record("ab" * 12, encode_record(known)[:-1] + b',"more",7]')


@pytest.mark.parametrize("name", ["credential", "authorization", "digest", "fields", "query", "text"])
def test_no_field_of_the_access_log_can_hold_a_credential(name: str) -> None:
    """Nothing that a client presents to authenticate itself has a place in the access log."""
    assert name not in AccessRecord.__struct_fields__


def test_what_is_not_known_of_a_request_is_left_out() -> None:
    """An access record of a request that matched nothing has only what every request has."""
    record = AccessRecord("", "1", "", "GET", "", "/", 404, "complete", 0, 0.0)
    assert "" == record.policy
    assert "" == record.token
    assert "" == record.reason
