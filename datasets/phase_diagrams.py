"""Generated data set: temperature-filling phase diagrams of hard-core bosons, two classes.

The pictures show kT against n for the mean-field model of `boson_mean_field` as a paper would draw
them. What differs is the version of the model, which the classifier has to tell:

* `homogeneous`: the phase of lowest free energy at each (n, T); superfluid and charge order meet in
  a line.
* `phase_separated`: the Maxwell construction; between superfluid and charge order lies a region in
  which both coexist, textured (hatching, tie lines at constant temperature, stipple) as papers do.

Everything else varies alike in both classes: coupling, ranges of the axes, numerical resolution,
colours, lines, frame, ticks, noise, and textures on the other regions. No picture is stored: each
is a pure function of (seed, index).
"""

import dataclasses
import enum
import functools
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets import boson_mean_field, image_folder
from datasets.conversion import Source
from datasets.spec import Example

NUM_IMAGES = 1200
BYTES_PER_PICTURE = 24_000  # in a record file; measured: 28.7 MB for the 1,200 pictures
CLASS_NAMES = ("homogeneous", "phase_separated")

# V / t: above 2, where charge order exists; at the ends the region between it and the superfluid
# still fills a good part of the diagram.
COUPLINGS = tuple(np.linspace(2.6, 5.2, 32))

_DESIGN_SIZE = 128  # lengths of a Figure are in pixels of a picture of this size
_OVERSAMPLING = 3  # drawn that many times as large, then averaged


class Region(enum.IntEnum):
    """What a point of a diagram belongs to."""

    DISORDERED = 0
    SUPERFLUID = 1
    CHARGE_ORDERED = 2
    COEXISTENCE = 3


class Texture(enum.Enum):
    """How a region is textured."""

    HATCH = enum.auto()
    CROSS_HATCH = enum.auto()
    TIE_LINES = enum.auto()
    STIPPLE = enum.auto()


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A texture with its measures."""

    texture: Texture
    period: float  # pixels
    weight: float  # share of the period that is inked
    angle: float  # radians
    contrast: float  # brightness of the inked part minus that of the rest, in [-255, 255]


@dataclasses.dataclass(frozen=True)
class Figure:
    """All that varies from picture to picture."""

    label: int
    coupling: float  # V / t
    filling: tuple[float, float]  # n at the left and right end of the axis
    temperature: tuple[float, float]  # kT / t at the bottom and the top
    resolution: tuple[int, int]  # cells of the numerical grid along n and T
    box: tuple[float, float, float, float]  # left, top, right, bottom of the axes, pixels
    colours: np.ndarray  # [len(Region), 3] in [0, 255]
    paper: tuple[int, int, int]
    ink: tuple[int, int, int]
    patterns: dict[Region, Pattern]
    line_width: float  # of the region boundaries, pixels
    dash: float  # length of a dash, pixels; 0 is a full line
    frame: str  # "box", "axes" or "none"
    ticks: int  # per axis
    tick_length: float  # pixels; negative ones point inwards
    numbers: bool
    noise: float  # standard deviation, in units of 1/255


def source(options: Any) -> Source:
    """The generated data set, for the converter.

    Args:
        options: the converter's flags; read here: seed, validation_fraction, test_fraction,
            num_shards.
    """
    shares = {
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
    }

    def examples() -> Iterator[tuple[str, Example]]:
        for index in range(NUM_IMAGES):
            image, label = picture(index, options.seed)
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, "PNG")
            content = encoded.getvalue()
            filename = f"{CLASS_NAMES[label]}/{index:05d}.png".encode()
            yield (
                image_folder.split_of(content, options.seed, **shares),
                Example(content, "png", *image.shape[:2], label, filename),
            )

    settings = {"seed": options.seed, "num_shards": options.num_shards, **shares}
    return Source(
        CLASS_NAMES,
        settings,
        examples,
        total=NUM_IMAGES,
        num_shards=options.num_shards,
        size=NUM_IMAGES * BYTES_PER_PICTURE,
    )


def picture(index: int, seed: int, size: int = _DESIGN_SIZE) -> tuple[np.ndarray, int]:
    """Picture number `index` of the data set made from `seed`.

    Even indices are homogeneous, odd ones phase-separated.

    Args:
        index: number of the picture, from 0; any number of them can be drawn.
        seed: seed of the data set, not negative.
        size: height and width in pixels.

    Returns:
        (image, label): uint8 [size, size, 3] RGB, and the index of the class in CLASS_NAMES.
    """
    drawn = figure(index, seed)
    canvas = _draw(drawn, size * _OVERSAMPLING)
    image = np.asarray(canvas.reduce(_OVERSAMPLING), np.float32)
    noise = np.random.default_rng([seed, index, 1]).standard_normal(image.shape, np.float32)
    return np.clip(image + drawn.noise * noise + 0.5, 0, 255).astype(np.uint8), drawn.label


def figure(index: int, seed: int) -> Figure:
    """Draws lots for picture number `index`; arguments as for `picture`."""
    rng = np.random.default_rng([seed, index])
    label = index % len(CLASS_NAMES)
    coupling = float(rng.choice(COUPLINGS))
    _, multicritical_temperature = boson_mean_field.multicritical_point(coupling)
    paper, ink, colours = _palette(rng)
    numbers = bool(rng.random() < 0.5)
    left, bottom = rng.uniform(12, 18, 2) if numbers else rng.uniform(3, 14, 2)
    right, top = rng.uniform(3, 10, 2)
    return Figure(
        label=label,
        coupling=coupling,
        filling=_filling_range(rng),
        temperature=(0.0, multicritical_temperature * rng.uniform(1.1, 1.6)),
        resolution=tuple(int(cells) for cells in 2 ** rng.uniform(6.3, 9, 2)),
        box=(left, top, _DESIGN_SIZE - right, _DESIGN_SIZE - bottom),
        colours=colours,
        paper=paper,
        ink=ink,
        patterns=_patterns(rng, label, colours),
        line_width=rng.uniform(0.9, 2.0),
        dash=rng.uniform(3, 6) if rng.random() < 0.1 else 0.0,
        frame=str(rng.choice(["box", "axes", "none"], p=[0.6, 0.3, 0.1])),
        ticks=int(rng.integers(0, 7)),
        tick_length=rng.uniform(1.5, 3.5) * rng.choice([-1, 1]),
        numbers=numbers,
        noise=rng.uniform(0, 4),
    )


def region_map(
    label: int, coupling: float, filling: np.ndarray, temperature: np.ndarray
) -> np.ndarray:
    """The region of each point of a grid.

    Args:
        label: which version of the model, an index of CLASS_NAMES.
        coupling: V / t.
        filling: [columns] n.
        temperature: [rows] kT / t.

    Returns:
        [rows, columns] uint8 of Region.
    """
    levels, superfluid, charge_ordered = _boundaries(label, coupling)
    n = np.minimum(filling, 1 - filling)[None]
    t = temperature[:, None]
    below = np.maximum(
        boson_mean_field.charge_order_temperature(n, coupling),
        boson_mean_field.superfluid_temperature(n),
    )
    # Above the last temperature of the table both edges stay at the multicritical filling.
    outer = np.interp(t, levels, superfluid)
    inner = np.interp(t, levels, charge_ordered)
    ordered = np.where(
        n < outer,
        Region.SUPERFLUID,
        np.where(n < inner, Region.COEXISTENCE, Region.CHARGE_ORDERED),
    )
    return np.where(t < below, ordered, Region.DISORDERED).astype(np.uint8)


@functools.cache
def _boundaries(label: int, coupling: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where superfluid ends and charge order begins.

    Returns:
        (kT / t, filling where the superfluid ends, filling where charge order begins), [32] each,
        up to the multicritical point and for n < 1/2. The two fillings differ by what coexists.
    """
    n, top = boson_mean_field.multicritical_point(coupling)
    temperature = np.linspace(0.02 * top, top, 32)
    if label:
        superfluid, charge_ordered, _ = boson_mean_field.coexistence(temperature[:-1], coupling)
    else:
        superfluid = charge_ordered = boson_mean_field.first_order_line(temperature[:-1], coupling)
    return temperature, np.append(superfluid, n), np.append(charge_ordered, n)


def _filling_range(rng: np.random.Generator) -> tuple[float, float]:
    """Ends of the filling axis: all of it, or a little more than one half."""
    kind = rng.choice(["full", "low", "high"], p=[0.8, 0.1, 0.1])
    if kind == "full":
        return rng.uniform(0, 0.08), rng.uniform(0.92, 1)
    near, far = rng.uniform(0, 0.05), rng.uniform(0.5, 0.75)
    return (near, far) if kind == "low" else (1 - far, 1 - near)


def _palette(rng: np.random.Generator) -> tuple[tuple, tuple, np.ndarray]:
    """(paper, ink, one colour for each Region): black on white, pastel, vivid or white on black."""
    low, high = {
        "print": ((0.0, 0.9), (0.08, 1.0)),
        "pastel": ((0.15, 0.85), (0.4, 1.0)),
        "vivid": ((0.4, 0.6), (0.9, 1.0)),
        "dark": ((0.3, 0.15), (0.8, 0.5)),
    }[kind := str(rng.choice(["print", "pastel", "vivid", "dark"], p=[0.2, 0.35, 0.3, 0.15]))]
    hue = rng.random() + rng.permutation(len(Region)) / len(Region) + rng.uniform(-0.08, 0.08, 4)
    saturation, value = rng.uniform([low] * len(Region), [high] * len(Region)).T
    # HSV to RGB: each channel is a trapezoid of the hue, 1/3 of the circle apart.
    wheel = np.abs((hue[:, None] + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    rgb = value[:, None] * (1 - saturation[:, None] * (1 - np.clip(wheel, 0, 1)))
    paper, ink = ((12,) * 3, (235,) * 3) if kind == "dark" else ((255,) * 3, (20,) * 3)
    return paper, ink, 255 * rgb


def _patterns(rng: np.random.Generator, label: int, colours: np.ndarray) -> dict[Region, Pattern]:
    """Textures: always on the coexistence region, now and then on others in both classes."""
    share = dict.fromkeys(Region, 0.03) | {Region.COEXISTENCE: float(label)}
    return {
        region: Pattern(
            texture=Texture(rng.integers(1, len(Texture) + 1)),
            period=rng.uniform(6, 10),
            weight=rng.uniform(0.3, 0.45),
            angle=rng.choice([-1, 1]) * rng.uniform(0.4, 1.2),
            # Dark on light and light on dark.
            contrast=rng.uniform(130, 230) * (1 if colours[region].mean() < 128 else -1),
        )
        for region in Region
        if rng.random() < share[region]
    }


def _draw(drawn: Figure, size: int) -> Image.Image:
    """The figure at size x size, without noise."""
    scale = size / _DESIGN_SIZE
    left, top, right, bottom = (round(scale * side) for side in drawn.box)
    columns, rows = right - left, bottom - top
    regions = region_map(
        drawn.label,
        drawn.coupling,
        _cells(*drawn.filling, columns, drawn.resolution[0]),
        _cells(*drawn.temperature, rows, drawn.resolution[1])[::-1],
    )
    plot = drawn.colours.astype(np.uint8)[regions]
    y, x = (grid / np.float32(scale) for grid in np.ogrid[:rows, :columns])
    ink = np.array(drawn.ink, np.uint8)
    for region, pattern in drawn.patterns.items():
        inked = _pattern_mask(pattern, x, y)
        # One shade darker, one lighter: their mean stays the colour of the region, so that the mean
        # colours of a picture tell little about where its textures are.
        ground = drawn.colours[region] - pattern.contrast * inked.mean()
        shades = np.clip([ground, ground + pattern.contrast], 0, 255).astype(np.uint8)
        here = regions == region
        plot[here] = shades[inked[here].astype(np.intp)]
    lines = _edges(regions, max(1, round(scale * drawn.line_width)))
    if drawn.dash:
        lines &= (x + y) % (2 * drawn.dash) < 1.3 * drawn.dash
    plot[lines] = ink
    canvas = Image.new("RGB", (size, size), drawn.paper)
    canvas.paste(Image.fromarray(plot), (left, top))
    _draw_axes(ImageDraw.Draw(canvas), drawn, scale)
    return canvas


def _cells(low: float, high: float, pixels: int, cells: int) -> np.ndarray:
    """The coordinate of each pixel along an axis, rounded to the centre of its grid cell."""
    cell = np.floor((np.arange(pixels) + 0.5) * cells / pixels)
    return low + (high - low) * (cell + 0.5) / cells


def _edges(regions: np.ndarray, width: int) -> np.ndarray:
    """True within a line of that width, in pixels, along the boundaries of the regions."""
    edges = np.zeros(regions.shape, bool)
    edges[:, width:] |= regions[:, width:] != regions[:, :-width]
    edges[width:] |= regions[width:] != regions[:-width]
    return edges


def _pattern_mask(pattern: Pattern, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """True where the texture is inked, at x [1, columns] and y [rows, 1]."""
    period, weight = pattern.period, pattern.weight

    def stripes(angle: float) -> np.ndarray:
        return (x * np.sin(angle) + y * np.cos(angle)) % period < weight * period

    match pattern.texture:
        case Texture.HATCH:
            return stripes(pattern.angle)
        case Texture.CROSS_HATCH:
            return stripes(pattern.angle) | stripes(pattern.angle + np.pi / 2)
        case Texture.TIE_LINES:
            return stripes(0)
        case Texture.STIPPLE:
            # Every second row of dots is shifted by half a period.
            shifted = x + (y // period % 2) * (period / 2)
            offset = np.hypot(shifted % period - period / 2, y % period - period / 2)
            return offset < weight * period


def _draw_axes(draw: ImageDraw.ImageDraw, drawn: Figure, scale: float) -> None:
    """Frame, ticks and numbers."""
    left, top, right, bottom = (scale * side for side in drawn.box)
    pen = {"fill": drawn.ink, "width": round(scale)}
    if drawn.frame != "none":
        draw.line([(left, top), (left, bottom), (right, bottom)], **pen)
    if drawn.frame == "box":
        draw.line([(left, top), (right, top), (right, bottom)], **pen)
    length = scale * drawn.tick_length
    for share in np.arange(1, drawn.ticks + 1) / (drawn.ticks + 1):
        x, y = left + share * (right - left), bottom - share * (bottom - top)
        draw.line([(x, bottom), (x, bottom + length)], **pen)
        draw.line([(left, y), (left - length, y)], **pen)
    if drawn.numbers:
        text = {"fill": drawn.ink, "font": _font(7 * scale)}
        for share in (0, 0.5, 1):
            x, y = left + share * (right - left), bottom - share * (bottom - top)
            n, t = (low + share * (high - low) for low, high in (drawn.filling, drawn.temperature))
            draw.text((x, bottom + 4 * scale), f"{n:.1f}", anchor="mt", **text)
            draw.text((left - 3 * scale, y), f"{t:.1f}", anchor="rm", **text)


@functools.cache
def _font(size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
