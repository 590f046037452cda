import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from core.compat import tf
from core.errors import DataError
from datasets import images

ROOT = Path(__file__).parents[2]
HEIGHT, WIDTH = 24, 40

# pytest undoes the filter that datasets.images sets; QUIET below tests it.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def smooth(channels: int = 3) -> np.ndarray:
    """A picture without sharp edges, so that JPEG changes it little; no two corners alike."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    layers = [x, y, (1 - x) * (1 - y), (x + y) / 2][:channels]
    return np.squeeze((np.stack(layers, axis=-1) * 255).astype(np.uint8))


RGB, GREY = smooth(3), smooth(1)
PALETTE = PIL.Image.fromarray(RGB).quantize(8)


def saved(picture, file_format: str, **options) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = PIL.Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def oriented(value: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = value
    return exif


def decoded(image: images.EncodedImage) -> np.ndarray:
    """The RGB pixels that TensorFlow reads from the record, int [height, width, 3]."""
    with tf.Graph().as_default(), tf.Session() as session:
        pixels = session.run(tf.io.decode_image(image.encoded, 3, expand_animations=False))
    assert pixels.shape == (image.height, image.width, 3)
    assert (
        image.encoded[:4]
        == {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff" + image.encoded[3:4]}[image.format]
    )
    return pixels.astype(int)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    alpha = alpha[..., np.newaxis] / 255
    return np.rint(colour * alpha + 255 * (1 - alpha))


def grey_as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


def lossless_jpeg() -> bytes:
    """8x8 pixels of grey 128 in the lossless process (ITU-T T.81, annex H).

    The first prediction is 128 and all differences are zero, coded with one bit of 0 each.
    """

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    frame = segment(0xC3, struct.pack(">BHHB", 8, 8, 8, 1) + bytes([1, 0x11, 0]))
    table = segment(0xC4, bytes([0, 1] + [0] * 15 + [0]))
    scan = segment(0xDA, bytes([1, 1, 0, 1, 0, 0])) + bytes(8)
    return b"\xff\xd8" + frame + table + scan + b"\xff\xd9"


KEPT = {
    "jpeg rgb": saved(RGB, "JPEG"),
    "jpeg grey": saved(GREY, "JPEG"),
    "jpeg progressive": saved(RGB, "JPEG", progressive=True),
    "jpeg upright": saved(RGB, "JPEG", exif=oriented(1)),
    "jpeg with a damaged exif": saved(RGB, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "jpeg with bytes after its end": saved(RGB, "JPEG") + b"\0" * 100,
    "mpo": saved(RGB, "MPO", save_all=True, append_images=[PIL.Image.fromarray(RGB[::-1])]),
    "png rgb": saved(RGB, "PNG"),
    "png grey": saved(GREY, "PNG"),
    "png with bytes after its end": saved(RGB, "PNG") + b"garbage",
}


@pytest.mark.parametrize("name", KEPT)
def test_what_tensorflow_reads_keeps_its_bytes(name):
    image = images.load(KEPT[name])
    assert image == (KEPT[name], name.split()[0].replace("mpo", "jpeg"), HEIGHT, WIDTH)
    expected = RGB if "grey" not in name else grey_as_rgb(GREY)
    # JPEG at Pillow's default quality; half the chroma resolution on steep colour ramps.
    np.testing.assert_allclose(decoded(image), expected, atol=0 if image.format == "png" else 20)


ALPHA = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
SIXTEEN = np.random.default_rng(0).integers(0, 1 << 16, (HEIGHT, WIDTH), dtype=np.uint16)
BILEVEL = GREY > 100
PALETTE_COLOURS = np.array(PALETTE.getpalette(), int).reshape(-1, 3)
INDEX = np.asarray(PALETTE)
FRAMES = [PIL.Image.fromarray(pixels).quantize(8) for pixels in (RGB, RGB[::-1], 255 - RGB)]
LATER = {"save_all": True, "append_images": FRAMES[1:]}

LOSSLESS = {
    "png rgba": (saved(np.dstack([RGB, ALPHA]), "PNG"), on_white(RGB, ALPHA)),
    "png la": (
        saved(np.dstack([GREY, ALPHA]), "PNG"),
        on_white(grey_as_rgb(GREY), ALPHA),
    ),
    "webp rgba": (
        saved(np.dstack([RGB, np.maximum(ALPHA, 1)]), "WEBP", lossless=True),
        on_white(RGB, np.maximum(ALPHA, 1)),
    ),
    "tiff rgba": (saved(np.dstack([RGB, ALPHA]), "TIFF"), on_white(RGB, ALPHA)),
    "png palette": (saved(PALETTE, "PNG"), PALETTE_COLOURS[INDEX]),
    "png palette, one colour transparent": (
        saved(PALETTE, "PNG", transparency=3),
        np.where(INDEX[..., np.newaxis] == 3, 255, PALETTE_COLOURS[INDEX]),
    ),
    "png palette, alpha for each colour": (
        saved(PALETTE, "PNG", transparency=bytes(range(0, 256, 32))),
        on_white(PALETTE_COLOURS[INDEX], INDEX * 32),
    ),
    "png rgb, one colour transparent": (
        saved(PALETTE.convert("RGB"), "PNG", transparency=tuple(PALETTE_COLOURS[3].tolist())),
        np.where(INDEX[..., np.newaxis] == 3, 255, PALETTE_COLOURS[INDEX]),
    ),
    "png grey, one value transparent": (
        saved(GREY, "PNG", transparency=int(GREY[0, 5])),
        grey_as_rgb(np.where(GREY[0, 5] == GREY, 255, GREY)),
    ),
    "png of 16 bits": (saved(SIXTEEN, "PNG"), grey_as_rgb(SIXTEEN >> 8)),
    "png of 16 bits, one value transparent": (
        saved(SIXTEEN, "PNG", transparency=int(SIXTEEN[0, 0])),
        grey_as_rgb(np.where(SIXTEEN[0, 0] == SIXTEEN, 255, SIXTEEN >> 8)),
    ),
    "tiff of 16 bits": (saved(SIXTEEN, "TIFF"), grey_as_rgb(SIXTEEN >> 8)),
    "png of 1 bit": (saved(PIL.Image.fromarray(BILEVEL), "PNG"), grey_as_rgb(BILEVEL * 255)),
    "png of 4 bits": (saved(PALETTE, "PNG", bits=4), PALETTE_COLOURS[INDEX]),
    "tiff of 1 bit": (
        saved(PIL.Image.fromarray(BILEVEL), "TIFF", compression="group4"),
        grey_as_rgb(BILEVEL * 255),
    ),
    "gif": (saved(PALETTE, "GIF"), PALETTE_COLOURS[INDEX]),
    "gif animated": (saved(FRAMES[0], "GIF", **LATER), PALETTE_COLOURS[INDEX]),
    "webp animated": (
        saved(FRAMES[0].convert("RGB"), "WEBP", lossless=True, **LATER),
        PALETTE_COLOURS[INDEX],
    ),
    "png animated": (
        saved(FRAMES[0].convert("RGB"), "PNG", save_all=True, append_images=FRAMES[1:]),
        PALETTE_COLOURS[INDEX],
    ),
    "bmp": (saved(RGB, "BMP"), RGB),
    "bmp palette": (saved(PALETTE, "BMP"), PALETTE_COLOURS[INDEX]),
    "tiff": (saved(RGB, "TIFF"), RGB),
    "tiff lzw": (saved(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "webp lossless": (saved(RGB, "WEBP", lossless=True), RGB),
    "jpeg lossless": (lossless_jpeg(), np.full((8, 8, 3), 128)),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_sources_become_png_with_the_pixels_that_are_seen(name):
    data, expected = LOSSLESS[name]
    image = images.load(data)
    assert image.format == "png"
    # Compositing may round either way; everything else is exact.
    is_blended = any(word in name for word in ("rgba", " la", "alpha"))
    np.testing.assert_allclose(decoded(image), expected, atol=1 if is_blended else 0)


def test_hidden_colour_under_full_transparency_is_white():
    red = np.zeros((4, 4, 4), np.uint8)
    red[..., 0] = 255
    assert (decoded(images.load(saved(red, "PNG"))) == 255).all()


def test_a_written_file_carries_no_colour_profile():
    profile = bytes(range(256)) * 20
    for data in (
        saved(PALETTE, "PNG", icc_profile=profile),
        saved(RGB, "JPEG", icc_profile=profile, exif=oriented(3)),
    ):
        encoded = images.load(data).encoded
        assert b"iCCP" not in encoded
        assert b"ICC_PROFILE" not in encoded


def test_16_bit_rgb_png_is_cut_to_the_upper_8_bits_and_its_transparent_colour_is_white():
    pixels = np.array([[[0x12FF, 0x3400, 0x56AA], [0xFFFF, 0x0000, 0x8001]]], ">u2")  # 1 x 2
    transparent = pixels[0, 1].tobytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data += chunk(b"tRNS", transparent) + chunk(b"IDAT", zlib.compress(b"\0" + pixels.tobytes()))
    image = images.load(data + chunk(b"IEND", b""))
    assert decoded(image).tolist() == [[[0x12, 0x34, 0x56], [255, 255, 255]]]


def ink(pixels: np.ndarray) -> PIL.Image.Image:
    """The picture in CMYK, with a quarter of the grey part as black."""
    black = (255 - pixels.max(axis=-1)) // 4
    # RGB = (255 - C) (255 - K) / 255, solved for C, M and Y.
    inks = 255 - pixels.astype(float) * 255 / (255 - black[..., np.newaxis])
    layers = np.dstack([inks, black]).clip(0, 255).astype(np.uint8)
    return PIL.Image.frombytes("CMYK", (WIDTH, HEIGHT), layers.tobytes())


@pytest.mark.parametrize(
    ("data", "file_format", "tolerance"),
    [
        (saved(ink(RGB), "JPEG", quality=95), "jpeg", 6),
        (saved(ink(RGB), "TIFF"), "png", 3),
        (saved(RGB, "WEBP", quality=95), "jpeg", 8),
        (saved(RGB, "JPEG", quality=95, subsampling=0, exif=oriented(3)), "jpeg", 4),
    ],
    ids=["cmyk jpeg", "cmyk tiff", "lossy webp", "turned jpeg"],
)
def test_other_sources_keep_their_colours(data, file_format, tolerance):
    image = images.load(data)
    assert image.format == file_format
    expected = RGB[::-1, ::-1] if data[6:10] == b"Exif" or b"Exif\0" in data[:40] else RGB
    assert np.abs(decoded(image) - expected).mean() < tolerance


# How a camera stores an upright picture, by the orientation it then notes (CIPA DC-008).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
    ],
)
def test_orientation_is_applied(orientation, file_format, options, tolerance):
    stored = np.ascontiguousarray(STORED[orientation](RGB))
    image = images.load(saved(stored, file_format, exif=oriented(orientation), **options))
    assert (image.height, image.width) == (HEIGHT, WIDTH)
    np.testing.assert_allclose(decoded(image), RGB, atol=tolerance)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_upright(orientation):
    data = saved(RGB, "JPEG", exif=oriented(orientation))
    assert images.load(data).encoded == data


@pytest.mark.parametrize("size", [(1, 1), (1, 65500), (65500, 1)])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP"])
def test_extreme_shapes(size, file_format):
    image = images.load(saved(PIL.Image.new("RGB", size, "red"), file_format))
    assert (image.width, image.height) == size


SOURCES = {name: data for name, data in KEPT.items() if "after" not in name and name != "mpo"}
SOURCES |= {name: data for name, (data, _) in LOSSLESS.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_truncated_files_are_refused(name):
    data = SOURCES[name]
    whole = images.load(data)
    cuts = {len(data) * part // 16 for part in range(1, 16)}
    for cut in sorted(cuts | {len(data) - lost for lost in (1, 2, 10)}):
        try:
            image = images.load(data[:cut])
        except DataError:
            continue
        # Only what is not needed may be missing: later frames, the end mark of a GIF, padding.
        assert whole.encoded != data, f"kept with {cut} of {len(data)} bytes"
        assert image.encoded == whole.encoded, f"{cut} of {len(data)} bytes"
        assert images.is_animated(data[:cut]) in (True, False)


@pytest.mark.parametrize("name", SOURCES)
def test_animations_are_known(name):
    assert images.is_animated(SOURCES[name]) is ("animated" in name)


@pytest.mark.parametrize("end", [b"\xff\xda", b"\xff\xe0", b"\xff\xc4"])
def test_a_jpeg_whose_end_only_tensorflow_misses_is_written_anew(end):
    """All rows are there, which does for Pillow; the end mark is that of another segment."""
    data = saved(GREY, "JPEG", quality=95)[:-2] + end
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(images.EncodedImage(data, "jpeg", HEIGHT, WIDTH))
    image = images.load(data)
    assert image.format == "jpeg"
    np.testing.assert_allclose(decoded(image), grey_as_rgb(GREY), atol=8)


def test_what_keeps_its_bytes_is_read_by_tensorflow():
    """However it is damaged."""
    rng, kept = np.random.default_rng(0), 0
    sources = [KEPT[name] for name in ("jpeg rgb", "jpeg grey", "jpeg progressive", "png rgb")]
    with tf.init_scope():
        for number in range(400):
            damaged = bytearray(sources[number % 4])
            damaged[rng.integers(2, len(damaged))] = rng.integers(256)
            try:
                image = images.load(bytes(damaged), max_pixels=100_000)
            except DataError:
                continue
            if image.encoded == damaged:
                kept += 1
                pixels = tf.io.decode_image(image.encoded, 3, expand_animations=False)
                assert pixels.shape == (image.height, image.width, 3)
    assert kept > 100


def test_truncation_is_named():
    with pytest.raises(DataError, match=r"^truncated$"):
        images.load(KEPT["jpeg rgb"][:-2])
    with pytest.raises(DataError, match=r"^truncated$"):
        images.load(KEPT["png rgb"][:-2])


def test_wrong_checksum_in_a_png_is_refused():
    data = bytearray(KEPT["png rgb"])
    data[-13] ^= 1  # the last byte before the 12 bytes of IEND: in the checksum of IDAT
    with pytest.raises(DataError, match=r"damaged \(wrong checksum in chunk 'IDAT'\)"):
        images.load(bytes(data))


def png(pixels: np.ndarray, rows: bytes, *, interlaced: bool = False, headers: int = 1) -> bytes:
    """A PNG of uint8 [height, width, 3], whose rows are packed as they are given."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        length = struct.pack(">I", len(content))
        return length + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = pixels.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header * headers + body


def rows_of(pixels: np.ndarray) -> bytes:
    """Rows as a PNG packs them, each after a byte that says it is not filtered."""
    return b"".join(b"\0" + row.tobytes() for row in pixels if row.size)


def test_a_png_that_lacks_rows_is_refused():
    pixels = smooth(3)
    rows = rows_of(pixels)
    assert images.load(png(pixels, rows)).encoded == png(pixels, rows)
    for missing in (1, 10, len(rows) // 2, len(rows)):
        with pytest.raises(
            DataError, match=rf"truncated \({missing} bytes of its rows are missing"
        ):
            images.load(png(pixels, rows[: len(rows) - missing]))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 5), (8, 8), (9, 7), (17, 2)])
def test_an_interlaced_png_is_whole_with_all_its_passes(shape):
    pixels = np.random.RandomState(0).randint(0, 256, (*shape, 3)).astype(np.uint8)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4))
    passes += ((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # first row, column; their distances
    rows = b"".join(rows_of(pixels[r::down, c::across]) for r, c, down, across in passes)
    image = images.load(png(pixels, rows, interlaced=True))
    np.testing.assert_array_equal(decoded(image), pixels)
    with pytest.raises(DataError, match="truncated"):
        images.load(png(pixels, rows[:-1], interlaced=True))


def test_a_png_with_two_headers_is_refused():
    pixels = smooth(3)
    with pytest.raises(DataError, match="IHDR is not the first chunk, and the only one"):
        images.load(png(pixels, rows_of(pixels), headers=2))


def test_one_damaged_byte_never_breaks_out():
    rng, reasons = np.random.default_rng(0), []
    for data in SOURCES.values():
        for position in rng.integers(len(data), size=10):
            damaged = bytearray(data)
            damaged[position] ^= rng.integers(1, 256)
            try:
                image = images.load(bytes(damaged), max_pixels=1_000_000)
            except DataError as error:
                reasons.append(error.what)
            else:
                assert min(image.height, image.width) > 0
                assert images.is_animated(bytes(damaged)) in (True, False)
    assert len(reasons) > 50
    assert all(reason.isprintable() for reason in reasons)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html><body>404", r"not an image \(starts with '<html><body>404'\)"),
        (b"\x00\n\x1b[31m", r"not an image \(starts with '\\x00\\n\\x1b\[31m'\)"),
        (b"<svg xmlns='x'/>", "unsupported format SVG"),
        (b'<?xml version="1.0"?>\n<svg/>', "unsupported format SVG"),
        (b"%PDF-1.7", "unsupported format PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported format HEIC"),
        (saved(PIL.Image.fromarray(RGB), "JPEG2000"), "unsupported format JPEG 2000"),
        (saved(PIL.Image.fromarray(GREY).convert("F"), "TIFF"), "unsupported pixel type F"),
        (b"BMW is not a bitmap", r"not an image \(starts with 'BMW is not a bit'\)"),
    ],
)
def test_what_is_no_supported_image_is_refused(data, reason):
    with pytest.raises(DataError, match=f"^{reason}"):
        images.load(data)


def test_the_limit_is_on_pixels_and_is_inclusive():
    data = KEPT["png rgb"]
    assert images.load(data, max_pixels=HEIGHT * WIDTH).encoded == data
    with pytest.raises(DataError, match=r"^40x24 exceeds the limit of 959 pixels$"):
        images.load(data, max_pixels=HEIGHT * WIDTH - 1)


BOMBS = """
import io, resource, struct, sys, zlib
import PIL.Image
from core.errors import DataError
from datasets import images

def saved(file_format, **options):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (16, 16)).save(buffer, file_format, **options)
    return bytearray(buffer.getvalue())

def patched(data, at, layout, side):
    struct.pack_into(layout, data, at, side, side)
    return bytes(data)

header = struct.pack(">4sIIBBBBB", b"IHDR", 50000, 50000, 8, 2, 0, 0, 0)
png = b"\\x89PNG\\r\\n\\x1a\\n" + struct.pack(">I", 13) + header
png += struct.pack(">I", zlib.crc32(header))
png += struct.pack(">I4s", 10, b"IDAT") + bytes(14)
jpeg, bmp, gif = saved("JPEG"), saved("BMP"), saved("GIF")
webp, tiff = saved("WEBP", lossless=True), saved("TIFF")
bombs = {
    "png": png,
    "jpeg": patched(jpeg, jpeg.index(b"\\xff\\xc0") + 5, ">HH", 12000),
    "bmp": patched(bmp, 18, "<ii", 50000),
    "gif": patched(gif, 6, "<HH", 50000),
    "webp": bytes(webp[:21]) + struct.pack("<I", 16383 - 1 | (16383 - 1) << 14) + bytes(webp[25:]),
    "tiff": bytes(tiff).replace(
        struct.pack("<HHIHH", 256, 4, 1, 16, 0), struct.pack("<HHII", 256, 4, 1, 50000)
    ).replace(
        struct.pack("<HHIHH", 257, 4, 1, 16, 0), struct.pack("<HHII", 257, 4, 1, 50000)
    ),
}
images.load(bytes(saved("PNG")))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, data in bombs.items():
    try:
        images.load(data)
        print(name, "accepted")
    except DataError as error:
        print(name, error.what)
print("KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def run(code: str) -> subprocess.CompletedProcess:
    """Runs Python in a process of its own, with all warnings on."""
    command = [sys.executable, "-W", "always", "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_bombs_are_refused_by_their_header():
    done = run(BOMBS)
    *reasons, growth = done.stdout.splitlines()
    assert len(reasons) == 6, done.stderr
    for line in reasons:
        assert "exceeds the limit of 64000000 pixels" in line
    assert int(growth.split()[1]) < 20_000  # decoding the smallest would take 400,000
    assert done.stderr == ""


QUIET = """
import io
import PIL.Image
from datasets import images

picture = PIL.Image.new("RGB", (16, 16)).quantize(4)
for file_format, options in (
    ("PNG", {"transparency": bytes([0, 128, 255])}),
    ("JPEG", {"exif": b"Exif\\0\\0II*\\0\\x08\\0\\0\\0\\xff\\xff" + bytes(5)}),
):
    buffer = io.BytesIO()
    mode = "P" if file_format == "PNG" else "RGB"
    picture.convert(mode).save(buffer, file_format, **options)
    images.load(buffer.getvalue())
noise = io.BytesIO()
PIL.Image.effect_noise((64, 64), 50).save(noise, "JPEG")
damaged = bytearray(noise.getvalue())
damaged[len(damaged) // 2] ^= 0x55  # libjpeg remarks on it, and decodes
images.load(bytes(damaged))
large = io.BytesIO()
PIL.Image.new("1", (10000, 9000)).save(large, "TIFF", compression="group4")  # PIL warns at 89 Mpx
images.load(large.getvalue(), max_pixels=100_000_000)
print("done")
"""


def test_remarks_of_the_decoders_do_not_reach_the_user():
    done = run(QUIET)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_pixels_that_are_decoded_next_are_not_decoded_here():
    noise = np.random.RandomState(0).randint(0, 256, (40, 30, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise).save(buffer, "JPEG")
    whole = buffer.getvalue()
    assert images.load(whole, is_decoded_next=True) == images.load(whole)
    table = whole.index(b"\xff\xc4") + 5  # of Huffman codes: how many there are of each length
    damaged = whole[:table] + b"\xff" * 16 + whole[table + 16 :]
    assert images.load(damaged, is_decoded_next=True) == (damaged, "jpeg", 40, 30)
    with pytest.raises(DataError, match="cannot be decoded"):
        images.load(damaged)
    with pytest.raises(DataError, match="truncated"):  # without its end mark it is not kept
        images.load(whole[:-300], is_decoded_next=True)
    with pytest.raises(DataError, match="30x40 exceeds"):
        images.load(whole, 1199, is_decoded_next=True)
