"""One image file, as it goes into a record.

A record holds a JPEG or PNG that TensorFlow decodes to the picture a person sees:

* A file that TensorFlow reads so by itself keeps its bytes: grey or RGB JPEG, and 8-bit grey or RGB
  PNG without transparency, unless EXIF says that the picture is to be turned.
* Any other file is decoded, made grey or RGB of 8 bits, upright and opaque, and written anew: as
  PNG, or, if the source has lost detail already (JPEG, lossy WebP), as JPEG of quality 95 without
  chroma subsampling, since a photo as PNG takes about five times the space for the same picture.

Transparency is composited on white, as a page shows it; 16 bits are cut to the upper 8, as
TensorFlow does; of several frames the first counts; colour profiles are not applied. What a file is
depends on its first bytes, never on its name.
"""

import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import PIL.Image
from PIL import ExifTags
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core.errors import DataError

MAX_PIXELS = 64_000_000  # 256 MB once decoded, at 4 bytes a pixel

# Opening by class rather than with PIL.Image.open: only these decoders ever see the bytes, and the
# size is checked here, by our limit, instead of there.
_READERS = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WebP": WebPImageFile,
    "TIFF": TiffImageFile,
}
# First bytes of the formats we read, then of others, so that a message can name them.
_SIGNATURES = re.compile(
    rb"""(?P<JPEG>\xff\xd8\xff) | (?P<PNG>\x89PNG\r\n\x1a\n) | (?P<GIF>GIF8[79]a)
    | (?P<BMP>BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3})  # the last: size of its next header
    | (?P<WebP>RIFF.{4}WEBP) | (?P<TIFF>II[*+]\x00|MM\x00[*+])
    | (?P<AVIF>.{4}ftypavi[fs]) | (?P<HEIC>.{4}ftyp(?:hei|hev|mif|msf)) | (?P<PDF>%PDF-)
    | (?P<JPEG_2000>.{4}jP\x20\x20|\xff\x4f\xff\x51) | (?P<JPEG_XL>\xff\x0a|.{4}JXL\x20)
    | (?P<Photoshop>8BPS) | (?P<ICO>\x00\x00[\x01\x02]\x00) | (?P<SVG>\s*(?:<\?xml.{0,500}?)?<svg)
    """,
    re.DOTALL | re.VERBOSE,
)

# SOF markers of the JPEG processes that TensorFlow decodes: baseline, extended, progressive, and
# the arithmetic-coded ones (ITU-T T.81, table B.1). Lossless, 0xC3, is not among them.
_LOSSLESS = 0xC3
_TENSORFLOW_PROCESSES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)

# What begins a segment, ITU-T T.81, table B.1: neither fill bytes, stuffed zeros nor restarts.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_SCAN, _END = 0xDA, 0xD9

# PNG (ISO/IEC 15948): samples per pixel by colour type, and the passes of an interlaced picture as
# first column, first row, and the distances to the next.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_PIECE_BYTES = 1 << 20  # unpacked at a time

# How to set a picture upright, by EXIF orientation (CIPA DC-008, tag 0x0112).
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_ENCODING = {"jpeg": {"quality": 95, "subsampling": "4:4:4"}, "png": {}}
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")

# Remarks on odd metadata tell a user nothing: the picture is either readable or refused.
# Once, here, because warnings.catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class NotAnImageError(DataError):
    """A file that is no image, or one of a format that is not read."""


class TooManyPixelsError(DataError):
    """An image that is larger than the limit."""


class EncodedImage(NamedTuple):
    """What a record holds of an image file."""

    encoded: bytes  # a complete PNG or JPEG file
    format: str  # "png" or "jpeg"
    height: int  # pixels
    width: int  # pixels


def image_format(head: bytes) -> str:
    """The format that the first bytes of a file (32 or more, or all) tell; "" if no image's."""
    match = _SIGNATURES.match(head)
    return match.lastgroup.replace("_", " ") if match else ""


def is_animated(data: bytes) -> bool:
    """Whether an image file that `load` takes has more frames than the one that counts."""
    with _READERS[image_format(data)](io.BytesIO(data)) as picture:
        try:
            return getattr(picture, "is_animated", False)
        except Exception:  # the next frame is damaged, which is none of our business
            return True


def load(
    data: bytes, max_pixels: int = MAX_PIXELS, *, is_decoded_next: bool = False
) -> EncodedImage:
    """Checks an image file, and turns it into what a record holds.

    The whole picture is decoded, once, even where the bytes are kept: a file that passes is
    readable from beginning to end.

    Args:
        data: the bytes of the file.
        max_pixels: width times height above which the file is refused by its header alone, without
            decoding. (A few bytes can claim a size whose pixels fill the memory.)
        is_decoded_next: whether TensorFlow decodes the picture right away, so that damage is found
            there: then the pixels of a JPEG whose bytes are kept are not decoded here.

    Returns:
        The bytes for the record, their true format, height and width.

    Raises:
        NotAnImageError: the file is empty, no image or of no supported format.
        TooManyPixelsError: it is too large.
        DataError: it is damaged. Of all three, `what` is the reason in a few words.
    """
    if not data:
        raise NotAnImageError("empty file")
    kind = image_format(data)
    if not kind:
        raise NotAnImageError(f"not an image (starts with {repr(data[:16])[1:]})")
    if kind not in _READERS:
        raise NotAnImageError(f"unsupported format {kind}")
    try:
        return _load(data, kind, max_pixels, is_decoded_next)
    except (DataError, MemoryError):
        raise
    except PIL.Image.DecompressionBombError:  # some decoders have a limit of their own
        raise TooManyPixelsError(f"exceeds the limit of {max_pixels} pixels") from None
    except Exception as error:  # whatever a decoder makes of damaged bytes
        raise DataError(_reason(error)) from None


def _load(data: bytes, kind: str, max_pixels: int, is_decoded_next: bool) -> EncodedImage:
    with _READERS[kind](io.BytesIO(data)) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise TooManyPixelsError(f"{width}x{height} exceeds the limit of {max_pixels} pixels")
        if kind == "PNG":
            _check_png(data)
        kept = EncodedImage(data, kind.lower(), height, width)
        if is_decoded_next and kind == "JPEG" and _is_kept(data, kind, picture):
            return kept
        picture.load()
        if _is_kept(data, kind, picture):
            return kept
        orientation = _orientation(picture)
        if kind == "PNG" and data[24] == 16 and isinstance(picture.info.get("transparency"), tuple):
            # The colour that stands for transparent has 16 bits, the decoded pixels 8.
            picture.info["transparency"] = tuple(c >> 8 for c in picture.info["transparency"])
        flat = _flat(picture)
    if orientation in _UPRIGHT:
        flat = flat.transpose(_UPRIGHT[orientation])
    flat.info.clear()  # or the encoder would write the old transparency and profile again
    target = "jpeg" if _is_lossy(data, kind) else "png"
    buffer = io.BytesIO()
    flat.save(buffer, target, **_ENCODING[target])
    return EncodedImage(buffer.getvalue(), target, flat.height, flat.width)


def _is_kept(data: bytes, kind: str, picture: PIL.Image.Image) -> bool:
    """Whether a record holds the bytes as they are."""
    return _orientation(picture) not in _UPRIGHT and _tensorflow_reads(data, kind, picture)


def _tensorflow_reads(data: bytes, kind: str, picture: PIL.Image.Image) -> bool:
    """Whether TensorFlow decodes the file to the same picture, but for the orientation."""
    if kind == "JPEG":
        if picture.mode not in ("L", "RGB") or _jpeg_process(data) not in _TENSORFLOW_PROCESSES:
            return False
        # Pillow stops at the last row, TensorFlow reads on to the end mark and misses it.
        return [*_jpeg_markers(data)][-2:] == [_SCAN, _END]
    if kind == "PNG":  # bytes 24 and 25: bit depth; colour type, 0 grey and 2 RGB
        return data[24] == 8 and data[25] in (0, 2) and "transparency" not in picture.info
    return False


def _is_lossy(data: bytes, kind: str) -> bool:
    """Whether the source has lost detail in compression already."""
    if kind == "JPEG":
        return _jpeg_process(data) != _LOSSLESS
    return kind == "WebP" and b"VP8L" not in data  # the lossless chunk


def _jpeg_process(data: bytes) -> int:
    """The second byte of the SOF marker, which says how a JPEG is coded."""
    tables = (0xC4, 0xC8, 0xCC)
    return next(m for m in _jpeg_markers(data) if 0xC0 <= m <= 0xCF and m not in tables)


def _jpeg_markers(data: bytes) -> Iterator[int]:
    """The second bytes of the markers of a JPEG's segments, to the end mark if there is one."""
    at = 2
    while match := _MARKER.search(data, at):
        yield match[1][0]
        if match[1][0] == _END:
            return
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")


def _check_png(data: bytes) -> None:
    """DataError unless all chunks and all rows are there and intact.

    Decoding alone does not prove it: Pillow fills up what is missing.
    """
    view, at, kind = memoryview(data), 8, b""
    inflate, missing = zlib.decompressobj(), _png_bytes(data)
    while kind != b"IEND":
        try:
            length, kind = struct.unpack_from(">I4s", data, at)
            (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        except struct.error:
            raise DataError("truncated") from None
        if zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
            raise DataError(f"damaged (wrong checksum in chunk {repr(kind)[1:]})")
        if (kind == b"IHDR") != (at == 8):
            raise DataError("damaged (IHDR is not the first chunk, and the only one)")
        if kind == b"IDAT":
            piece = inflate.decompress(view[at + 8 : at + 8 + length], _PIECE_BYTES)
            while piece:
                missing -= len(piece)
                piece = inflate.decompress(inflate.unconsumed_tail, _PIECE_BYTES)
        at += 12 + length
    if missing > 0:
        raise DataError(f"truncated ({missing} bytes of its rows are missing)")


def _png_bytes(data: bytes) -> int:
    """How many bytes the rows of a PNG take uncompressed, each after its filter byte."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _PNG_CHANNELS[colour]
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0:
            total += max(rows, 0) * (1 + (columns * bits + 7) // 8)
    return total


def _orientation(picture: PIL.Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, if the file does not tell."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF is often damaged where the picture is not
        return 1


def _flat(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture as 8-bit grey ("L") or "RGB", composited on white."""
    if picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        grey = (values >> 8).astype(np.uint8)
        if "transparency" in picture.info:
            grey[values == picture.info["transparency"]] = 255
        return PIL.Image.fromarray(grey)
    if picture.mode not in _GREY_MODES + _COLOUR_MODES:
        raise DataError(f"unsupported pixel type {picture.mode}")
    flat_mode = "L" if picture.mode in _GREY_MODES else "RGB"
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(white, picture)
    return picture.convert(flat_mode)


def _reason(error: Exception) -> str:
    """What a decoder complains about, in one line."""
    text = " ".join(str(error).split())
    is_short = re.search("truncated|incomplete|unpack", text.lower())
    return "truncated" if is_short else f"cannot be decoded ({text})"
