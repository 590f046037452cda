"""What all recipes have in common."""

import numpy as np
import pytest

from core.compat import tf
from preprocessing.preprocessing_factory import NETS_OF_RECIPE, get_preprocessing, get_to_pixels

RECIPES = ["cifarnet", "imagenet", "inception", "lenet", "vgg"]
# How far float32 results may lie apart by rounding alone: values of vgg go up to 255, those of
# inception and lenet to 1, those of imagenet are divided by 0.22 where inception's are by 0.5, and
# those of cifarnet by a deviation that can be small.
ROUNDING = {"cifarnet": 2e-4, "imagenet": 5e-5, "inception": 2e-5, "lenet": 1e-6, "vgg": 2e-3}

every_recipe = pytest.mark.parametrize("name", RECIPES)
every_mode = pytest.mark.parametrize("is_training", [True, False], ids=["train", "eval"])


@every_recipe
@every_mode
@pytest.mark.parametrize("sides", [(40, 50), (17, 9)], ids=["larger", "smaller"])
@pytest.mark.parametrize(
    ("channels", "use_grayscale", "expected"), [(3, False, 3), (3, True, 1), (1, False, 1)]
)
def test_shape_is_static_and_not_transposed(
    photo, name, is_training, sides, channels, use_grayscale, expected
):
    preprocess = get_preprocessing(name, is_training, use_grayscale)
    with tf.Graph().as_default(), tf.Session() as session:
        image = tf.placeholder(tf.uint8, [None, None, channels])
        out = preprocess(image, 16, 24, seed=(1, 2))
        assert out.dtype == tf.float32
        assert out.shape.as_list() == [16, 24, expected]
        assert session.run(out, {image: photo(*sides, channels)}).shape == (16, 24, expected)


@every_recipe
@every_mode
def test_bytes_and_floats_give_the_same(run, photo, name, is_training):
    preprocess = get_preprocessing(name, is_training)
    image = photo(20, 30)
    of_bytes = run(preprocess, image, 12, 16, seed=(3, 4))
    of_floats = run(preprocess, image.astype(np.float32), 12, 16, seed=(3, 4))
    np.testing.assert_allclose(of_bytes, of_floats, atol=ROUNDING[name])


@every_recipe
@every_mode
def test_grayscale_of_a_grey_picture_is_that_of_one_channel(run, photo, name, is_training):
    mono = photo(20, 30, 1)
    gray = run(get_preprocessing(name, is_training), mono, 12, 16, seed=(3, 4))
    rgb = np.repeat(mono, 3, axis=2)
    converted = run(get_preprocessing(name, is_training, True), rgb, 12, 16, seed=(3, 4))
    # The weights of the colours add up to 0.9999: 0.03 of 255.
    np.testing.assert_allclose(converted, gray, atol=ROUNDING[name] + 1.2e-4 * np.ptp(gray))


@every_recipe
def test_training_is_a_function_of_the_seed(run_seeds, photo, name):
    preprocess = get_preprocessing(name, is_training=True)
    image = photo(20, 30)
    first = run_seeds(lambda x, seed: preprocess(x, 12, 16, seed=seed), image, 20)
    again = run_seeds(lambda x, seed: preprocess(x, 12, 16, seed=seed), image, 20)
    np.testing.assert_array_equal(first, again)
    distinct = len(np.unique(first.reshape(20, -1), axis=0))
    assert distinct == (1 if name == "lenet" else 20)


@every_recipe
def test_training_without_a_seed_differs_from_run_to_run(photo, name):
    with tf.Graph().as_default(), tf.Session() as session:
        out = get_preprocessing(name, is_training=True)(tf.constant(photo(20, 30)), 12, 16)
        same = np.array_equal(session.run(out), session.run(out))
        assert same == (name == "lenet")


@every_recipe
@every_mode
def test_session_and_tf_data_give_the_same(run, run_seeds, photo, name, is_training):
    preprocess = get_preprocessing(name, is_training)
    image = photo(20, 30)
    mapped = run_seeds(lambda x, seed: preprocess(x, 12, 16, seed=seed), image, 3)
    for index in range(3):
        alone = run(preprocess, image, 12, 16, seed=(7, index))
        np.testing.assert_allclose(mapped[index], alone, atol=ROUNDING[name])


@every_mode
@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in RECIPES), ("inception", {"fast_mode": False})]
)
def test_graph_keeps_no_state(name, is_training, options):
    with tf.Graph().as_default() as graph:
        image = tf.placeholder(tf.uint8, [None, None, 3])
        get_preprocessing(name, is_training)(image, 12, 16, seed=(1, 2), **options)
    graph_def = graph.as_graph_def()
    nodes = list(graph_def.node)
    for function in graph_def.library.function:
        nodes.extend(function.node_def)
    random = {node.op for node in nodes if "Random" in node.op or "Sample" in node.op}
    stateful = {op.type for op in graph.get_operations() if op.op_def.is_stateful}
    assert stateful == set()
    assert all(op.startswith("Stateless") for op in random)
    assert bool(random) == (is_training and name != "lenet")
    assert not any("Summary" in node.op for node in nodes)


@every_recipe
@every_mode
@pytest.mark.parametrize("sides", [(1, 1), (1, 65535), (65535, 1)])
def test_extreme_shapes(run, name, is_training, sides):
    image = np.full([*sides, 3], 200, np.uint8)
    out = run(get_preprocessing(name, is_training), image, 12, 16, seed=(1, 2))
    assert out.shape == (12, 16, 3)
    assert np.all(np.isfinite(out))


# A further distortion.

every_known_recipe = pytest.mark.parametrize("name", NETS_OF_RECIPE)


@every_known_recipe
@every_mode
@pytest.mark.parametrize(("channels", "use_grayscale"), [(3, False), (3, True), (1, False)])
def test_augment_is_given_the_picture_in_its_own_size_and_range(
    run, photo, name, is_training, channels, use_grayscale
):
    """Of what it gives, `to_pixels` finds the way back, but where the recipe loses it."""
    preprocess = get_preprocessing(name, is_training, use_grayscale)
    given = []

    def augment(image):
        assert image.dtype == tf.float32
        assert image.shape.as_list() == [12, 16, 1 if use_grayscale else channels]
        given.append(image)
        return 255.0 - image

    def both(image):
        out = preprocess(image, 12, 16, seed=(3, 4), augment=augment)
        return tf.stack([out, *given])

    out, image = run(both, photo(20, 30, channels))
    assert len(given) == 1
    assert image.min() >= 0
    assert 128 < image.max() <= 255 + 1e-3
    if name != "cifarnet":
        shown = get_to_pixels(name)(out)
        assert shown.dtype == np.uint8
        np.testing.assert_allclose(shown, 255 - image, atol=0.501)


@every_known_recipe
@every_mode
def test_an_augment_that_leaves_the_picture_changes_nothing(run, photo, name, is_training):
    preprocess = get_preprocessing(name, is_training)
    image = photo(20, 30)
    plain = run(preprocess, image, 12, 16, seed=(3, 4))
    same = run(preprocess, image, 12, 16, seed=(3, 4), augment=tf.identity)
    np.testing.assert_allclose(same, plain, atol=1e-6)  # inception's goes to 0..255 and back


def test_a_standardized_picture_is_shown_around_a_medium_grey():
    shown = get_to_pixels("cifarnet")(np.array([-3.0, -1.0, 0.1, 1.0, 3.0], np.float32))
    np.testing.assert_array_equal(shown, [0, 64, 134, 192, 255])  # 127.5 + 64 x, cut off
