"""A head of one's own against numpy."""

import numpy as np
import pytest

from core.compat import tf
from nets.own_head import own_head

NAMES = [f"Head/{layer}/{kind}" for layer in ("hidden", "logits") for kind in ("weights", "biases")]


@pytest.fixture
def built():
    """built(features, **arguments) is a session, logits of 3 classes of 5 units, end points."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        tf.train.create_global_step()

        def built(features, drop=0.0, is_training=False, weight_decay=0.0, units=5):
            end_points = {}
            logits = own_head(
                tf.constant(features, tf.float32),
                *(3, units),
                drop=drop,
                is_training=is_training,
                weight_decay=weight_decay,
                end_points=end_points,
            )
            session.run(tf.global_variables_initializer())
            return session, logits, end_points

        yield built


@pytest.mark.parametrize("shape", [(2, 1, 1, 7), (2, 7)])
def test_logits_and_predictions(built, shape):
    features = np.random.RandomState(0).normal(size=shape).astype(np.float32)
    session, logits, end_points = built(features, drop=0.9)  # none outside training
    variables = {v.op.name: session.run(v) for v in tf.trainable_variables()}
    assert list(variables) == NAMES
    assert [variables[name].shape for name in NAMES] == [(7, 5), (5,), (5, 3), (3,)]
    variables["Head/hidden/biases"] += 0.5
    tf.trainable_variables()[1].load(variables["Head/hidden/biases"], session)
    hidden = np.maximum(features.reshape(2, 7) @ variables[NAMES[0]] + 0.5, 0)
    expected = hidden @ variables[NAMES[2]]
    found, hidden_found, shares = session.run(
        [logits, end_points["Hidden"], end_points["Predictions"]]
    )
    np.testing.assert_allclose(hidden_found, hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    exponentials = np.exp(expected)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, expected, rtol=1e-5)
    assert end_points["Logits"] is logits


def test_initial_values_have_the_variances_of_the_papers(built):
    """He: 2 / inputs. Glorot: 2 / (inputs + outputs)."""
    session, _, _ = built(np.zeros((1, 400)), units=300)
    hidden, biases, logits, _ = session.run(tf.trainable_variables())
    assert hidden.var() == pytest.approx(2 / 400, rel=0.03)
    assert logits.var() == pytest.approx(2 / 303, rel=0.1)
    assert not biases.any()


def test_weight_decay_is_of_both_layers(built):
    session, _, _ = built(np.zeros((1, 4)), weight_decay=0.1)
    weights = [session.run(v) for v in tf.trainable_variables() if v.op.name.endswith("weights")]
    expected = sum(0.1 * (w.astype(np.float64) ** 2).sum() / 2 for w in weights)
    found = session.run(tf.losses.get_regularization_loss())
    assert len(weights) == 2
    assert found == pytest.approx(expected, rel=1e-5)


def test_dropout_drops_its_share_anew_in_each_step_and_the_same_in_a_step(built):
    session, logits, _ = built(np.ones((1, 4)), drop=0.3, is_training=True, units=4000)
    # What the dropout leaves is what the last product is of.
    dropped = next(op for op in tf.get_default_graph().get_operations() if op.type == "SelectV2")
    mask = session.run(dropped.outputs[0])
    hidden = session.run(tf.get_default_graph().get_tensor_by_name("Head/hidden/Relu:0"))
    assert np.mean(mask[hidden > 0] == 0) == pytest.approx(0.3, abs=0.04)
    np.testing.assert_allclose(mask[mask > 0], hidden[mask > 0] / 0.7, rtol=1e-5)
    first = session.run(logits)
    np.testing.assert_array_equal(session.run(logits), first)
    tf.train.get_global_step().load(1, session)
    assert not np.array_equal(session.run(logits), first)
