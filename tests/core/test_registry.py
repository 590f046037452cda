import subprocess
import sys
from pathlib import Path

import pytest

from core import registry
from core.errors import FlagError

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"lenet": "colorsys:rgb_to_hls", "alexnet": "no_such_module:f", "vgg": "colorsys:none"}


@pytest.fixture
def nets():
    return registry.Registry("Name of network unknown %s", PLACES)


def test_it_is_a_mapping_in_the_given_order(nets):
    assert list(nets) == ["lenet", "alexnet", "vgg"]
    assert dict(nets) == PLACES
    assert len(nets) == 3
    assert "vgg" in nets
    assert "resnet" not in nets


def test_a_later_change_of_the_entries_it_was_made_from_does_not_reach_it():
    entries = {"a": 1}
    made = registry.Registry("unknown %s", entries)
    entries["b"] = 2
    assert list(made) == ["a"]


def test_an_unknown_name_is_answered_with_the_nearest_one(nets):
    with pytest.raises(FlagError, match=r"^Name of network unknown lenett - did you mean lenet\?$"):
        nets["lenett"]


def test_an_unknown_name_with_nothing_near_is_answered_with_all(nets):
    with pytest.raises(FlagError, match=r"unknown zzz - known: lenet, alexnet, vgg$"):
        nets["zzz"]


def test_get_gives_the_default_for_an_unknown_name(nets):
    assert nets.get("lenet") == "colorsys:rgb_to_hls"
    assert nets.get("zzz") is None
    assert nets.get("zzz", 5) == 5


def test_load_imports_what_stands_at_a_place():
    import colorsys

    assert registry.load("colorsys:rgb_to_hls") is colorsys.rgb_to_hls


@pytest.mark.parametrize(
    ("place", "error"),
    [("no_such_module:f", ModuleNotFoundError), ("colorsys:none", AttributeError)],
)
def test_a_place_where_nothing_is_is_a_bug_and_says_so(place, error):
    with pytest.raises(error):
        registry.load(place)


def test_listing_the_datasets_imports_neither_tensorflow_nor_a_converter():
    code = (
        "import sys; from datasets.dataset_factory import DATASETS; print(*DATASETS);"
        "print(*{'tensorflow', 'datasets.cifar10', 'datasets.image_folder'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    names, imported = done.stdout.splitlines()
    assert names.split()[:2] == ["cifar10", "mnist"]
    assert imported == ""
