import inspect
import subprocess
import sys

import numpy as np
import pytest

from core.errors import FlagError
from core.registry import load
from preprocessing import preprocessing_factory
from preprocessing.preprocessing_factory import PREPROCESSING, get_preprocessing

# The names of research/slim, and those of its nets that it forgot.
SLIM_NAMES = """
    cifarnet inception inception_v1 inception_v2 inception_v3 inception_v4 inception_resnet_v2 lenet
    mobilenet_v1 mobilenet_v2 mobilenet_v2_035 mobilenet_v2_140 mobilenet_v3_small
    mobilenet_v3_large mobilenet_v3_small_minimalistic mobilenet_v3_large_minimalistic
    mobilenet_edgetpu mobilenet_edgetpu_075 nasnet_mobile nasnet_large pnasnet_mobile pnasnet_large
    resnet_v1_50 resnet_v1_101 resnet_v1_152 resnet_v1_200 resnet_v2_50 resnet_v2_101 resnet_v2_152
    resnet_v2_200 vgg vgg_a vgg_16 vgg_19
"""
FORGOTTEN = ["mobilenet_v1_075", "mobilenet_v1_050", "mobilenet_v1_025"]
OURS = ["pad_crop", "imagenet", "densenet121", "efficientnet_b0", "efficientnet_b1"]
OURS += ["resnet_v1_18", "resnet_v1_34", "mobilenet_v2_075", "mobilenet_v2_050"]


def test_names_are_those_of_slim_its_forgotten_nets_and_ours():
    names = SLIM_NAMES.split()
    assert len(names) == 34
    assert sorted(PREPROCESSING) == sorted(names + FORGOTTEN + OURS)


@pytest.mark.parametrize("name", list(PREPROCESSING))
def test_every_name_leads_to_a_recipe(name):
    parameters = list(inspect.signature(load(PREPROCESSING[name])).parameters)
    assert parameters[:6] == [
        *("image", "output_height", "output_width", "is_training", "use_grayscale", "seed")
    ]


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("mobilenet_v1_025", "inception"),
        ("pnasnet_large", "inception"),
        ("resnet_v1_50", "vgg"),
        ("vgg_16", "vgg"),
        ("lenet", "lenet"),
        ("cifarnet", "cifarnet"),
        ("densenet121", "imagenet"),
        ("efficientnet_b1", "imagenet"),
    ],
)
def test_nets_have_the_recipe_they_were_trained_with(name, recipe):
    assert PREPROCESSING[name] == f"preprocessing.{recipe}_preprocessing:preprocess_image"


def test_unknown_name_is_reported_with_the_nearest():
    with pytest.raises(FlagError) as caught:
        get_preprocessing("mobilenet_v1_2")
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(
        "Preprocessing name [mobilenet_v1_2] was not recognized - did you mean mobilenet_v"
    )


def test_is_training_and_use_grayscale_are_passed_on(run):
    image = np.full([8, 8, 3], 100, np.uint8)
    for_eval = run(get_preprocessing("inception_v1"), image, 4, 6)
    np.testing.assert_allclose(for_eval, 100 / 255 * 2 - 1, rtol=1e-5)
    for_train = run(get_preprocessing("inception_v1", True, True), image, 4, 6, seed=(1, 2))
    assert for_train.shape == (4, 6, 1)
    assert abs(for_train[0, 0, 0] - for_eval[0, 0, 0]) > 1e-3  # another brightness


def test_recipes_take_their_own_options(run):
    image = np.full([8, 8, 3], 100, np.uint8)
    with pytest.raises(TypeError, match="fast_mode"):
        run(get_preprocessing("vgg", True), image, 4, 6, fast_mode=False)


def test_listing_the_names_does_not_import_tensorflow():
    script = (
        "import sys; from preprocessing.preprocessing_factory import PREPROCESSING; "
        "print(len(list(PREPROCESSING)), 'tensorflow' in sys.modules)"
    )
    root = preprocessing_factory.__file__.rsplit("/preprocessing/", 1)[0]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{len(SLIM_NAMES.split() + FORGOTTEN + OURS)} False\n"
