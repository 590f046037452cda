"""The frame of a TFRecord file: counting records, and finding where one ends.

A record is a uint64 length (little endian), its masked crc32c, that many bytes, and their crc.
"""

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

from core.errors import DataError

HEADER_BYTES = 12  # uint64 length + uint32 crc
_FOOTER_BYTES = 4  # uint32 crc

FRAME_BYTES = HEADER_BYTES + _FOOTER_BYTES

_POLYNOMIAL = 0x82F63B78  # of crc32c, bits reversed (RFC 3720, appendix B.4)
_MASK = 0xA282EAD8  # TensorFlow's: a crc of bytes that hold a crc would say little


class Record(NamedTuple):
    """One record of a file, or what is wrong with it."""

    number: int  # from 0
    offset: int  # bytes, where its length stands
    content: bytes = b""
    problem: str = ""  # why there is no content
    ends_file: bool = False  # whether the problem keeps the next record from being found


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
            if position + HEADER_BYTES <= size:
                end = position + FRAME_BYTES + struct.unpack_from("<Q", content, position)[0]
            if end > size:
                raise DataError(
                    f"not a TFRecord file, or cut short at record {records}",
                    where=f"{path}:{position}",
                )
            records, position = records + 1, end
    return records


def length(header: bytes) -> int | None:
    """The length of a record; None if it does not agree with its checksum.

    Args:
        header: the first 12 bytes of a record.
    """
    number, checksum = struct.unpack("<QI", header)
    crc = _crc32c(header[:8])
    masked = ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
    return number if masked == checksum else None


def _crc32c(content: bytes) -> int:
    """Bit by bit, which does for the eight bytes of a length."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ _POLYNOMIAL * (crc & 1)
    return crc ^ 0xFFFFFFFF
