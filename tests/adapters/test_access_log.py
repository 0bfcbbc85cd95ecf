"""The access log: whole lines, complete after the end."""

from pathlib import Path

import msgspec

from gateway.adapters.access_log import FileAccessLog
from gateway.core.records import AccessRecord


async def test_each_record_is_a_line_and_none_is_lost_at_the_end(tmp_path: Path) -> None:
    """What was appended before the end is in the file after it, one JSON object a line, in order."""
    file = tmp_path / "access.log"
    records = [AccessRecord(float(n), f"id-{n}", "", "GET", "a", "/", 200, reason="x\ny") for n in range(3)]
    log = FileAccessLog(str(file))
    for record in records:
        log.append(record)
    log.close()
    assert records == [msgspec.json.decode(line, type=AccessRecord) for line in file.read_bytes().splitlines()]
