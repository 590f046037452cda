import importlib.util

import PIL.Image
import pytest

from benchmarks import __main__ as main
from benchmarks import scaling
from core import flags
from core.errors import FlagError


def test_without_matplotlib_a_picture_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    config = flags.parse(main.define_flags, [f"--picture={tmp_path / 'scaling.png'}"])
    with pytest.raises(FlagError, match="--picture needs matplotlib"):
        main.settled(config)


def test_curves_are_drawn(tmp_path):
    path = tmp_path / "scaling.png"
    points = [
        scaling.Point(axis, value, 100.0 * value, 1000.0, 500.0)
        for axis, values in scaling.AXES.items()
        for value in values
    ]
    scaling.draw(points, "lenet", path)
    with PIL.Image.open(path) as picture:
        assert picture.format == "PNG"
