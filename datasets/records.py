"""The frame of a TFRecord file, as far as counting records needs it.

A record is a uint64 length (little endian), its masked crc32c, that many bytes, and their crc.
"""

import mmap
import struct
from pathlib import Path

from core.errors import DataError

_HEADER_BYTES = 12  # uint64 length + uint32 crc
_FOOTER_BYTES = 4  # uint32 crc

FRAME_BYTES = _HEADER_BYTES + _FOOTER_BYTES


def count(path: Path) -> int:
    """The number of records of a TFRecord file, by hopping from length to length.

    Raises:
        DataError: the file ends inside a record, or is not a TFRecord file.
    """
    size = path.stat().st_size
    if not size:
        return 0
    records = position = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while position < size:
            end = size + 1
            if position + _HEADER_BYTES <= size:
                end = position + FRAME_BYTES + struct.unpack_from("<Q", content, position)[0]
            if end > size:
                raise DataError(
                    f"not a TFRecord file, or cut short at record {records}",
                    where=f"{path}:{position}",
                )
            records, position = records + 1, end
    return records
