"""TensorBoard's HParams tab: what its backend lists of runs that were really trained."""

import json
import math
import re
import shutil

import pytest
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
    metadata,
)

from core.compat import tf
from core.errors import DivergedError
from engine import hparams, summaries

EVALUATION = {
    "accuracy": 0.75,
    "loss": 1.25,
    "eval/f1_macro": 0.5,
    "eval/balanced_accuracy": 0.625,
    "eval/mcc": -0.25,
    "eval/roc_auc": 0.875,
    "eval/average_precision": 0.375,
}
ALL_STATUSES = [
    *(api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS),
    *(api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING),
]


@pytest.fixture(scope="module")
def logs(finished_run, tmp_path_factory):
    """Directory of two runs, to read only: "a" was evaluated, at steps 4 and 7."""
    directory = tmp_path_factory.mktemp("logs")
    shutil.copytree(finished_run("lenet"), directory / "a")
    shutil.copytree(finished_run("cifarnet"), directory / "b")
    (directory / "a/eval").mkdir()
    events = summaries.EventFile(directory / "a/eval")
    events.add(step=4, summary=summaries.scalars(dict.fromkeys(EVALUATION, 0.0)))
    events.add(step=7, summary=summaries.scalars(EVALUATION))
    events.close()
    return directory


def backend(directory):
    """The tab's backend, on the events below a directory."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(directory))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(directory))
    return backend_context.Context(TBContext(data_provider=provider))


def sessions(directory):
    """Name -> (settings, values of the metrics by group and tag, status)."""
    request = api_pb2.ListSessionGroupsRequest(slice_size=10, allowed_statuses=ALL_STATUSES)
    handler = list_session_groups.Handler(context.RequestContext(), backend(directory), "", request)
    found = {}
    for group in handler.run().session_groups:
        (session,) = group.sessions
        settings = {
            name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()
        }
        values = {(one.name.group, one.name.tag): one.value for one in session.metric_values}
        found[session.name] = (settings, values, session.status)
    return found


def last(events, tag):
    """The last value of a tag in an event file, read without TensorBoard."""
    return [v.simple_value for e in events for v in e.summary.value if v.tag == tag][-1]


def test_a_directory_of_runs(logs, events_of):
    found = sessions(logs)
    assert set(found) == {"a", "b"}
    for name, (settings, values, status) in found.items():
        recorded = json.loads((logs / name / "run.json").read_text())["settings"]
        assert settings == {k: v for k, v in recorded.items() if v is not None}
        assert status == api_pb2.STATUS_SUCCESS
        events = events_of(logs / name)
        training = {("", tag): last(events, tag) for tag in ("loss", "accuracy")}
        evaluation = {("eval", tag): value for tag, value in EVALUATION.items()}
        assert values == (training | evaluation if name == "a" else training)
    assert found["a"][0]["model_name"] == "lenet"
    assert found["b"][0]["optimizer"] == "momentum"
    assert found["a"][0]["batch_size"] == 4
    assert found["a"][0]["use_grayscale"] is False


def test_columns(logs):
    handler = get_experiment.Handler(
        context.RequestContext(), backend(logs), "", api_pb2.GetExperimentRequest()
    )
    experiment = handler.run()
    types = {info.name: info.type for info in experiment.hparam_infos}
    recorded = json.loads((logs / "a/run.json").read_text())["settings"]
    assert set(types) == set(recorded)
    assert types["model_name"] == api_pb2.DATA_TYPE_STRING
    assert types["batch_size"] == types["learning_rate"] == api_pb2.DATA_TYPE_FLOAT64
    assert types["use_grayscale"] == api_pb2.DATA_TYPE_BOOL
    assert recorded["moving_average_decay"] is None
    assert types["moving_average_decay"] == api_pb2.DATA_TYPE_UNSET
    # The five that the tab shows at first.
    first = ["batch_size", "learning_rate", "model_name", "optimizer", "train_image_size"]
    assert [info.name for info in experiment.hparam_infos[:5]] == first
    metrics = [(info.name.group, info.name.tag) for info in experiment.metric_infos]
    assert metrics[:5] == [
        *(("eval", "accuracy"), ("eval", "loss")),
        *(("validation", "accuracy"), ("validation", "loss")),
        ("eval", "eval/f1_macro"),
    ]
    assert {tag for group, tag in metrics if group} == set(EVALUATION)


def test_the_directory_of_one_run(logs, events_of):
    """Here TensorBoard names the session "." and looks for its evaluation in "./eval"."""
    ((name, (settings, values, status)),) = sessions(logs / "a").items()
    assert (name, settings["model_name"], status) == (".", "lenet", api_pb2.STATUS_SUCCESS)
    events = events_of(logs / "a")
    assert values == {("", tag): last(events, tag) for tag in ("loss", "accuracy")}


def test_a_run_that_failed_and_was_resumed(make_dataset, train, events_of, tmp_path):
    """It shows how its last process ended, its last values, and the settings it began with."""
    run, flags = tmp_path / "run", ["--max_number_of_steps=2", "--optimizer=sgd"]
    with pytest.raises(DivergedError):
        train(make_dataset(), run, "--learning_rate=1e38", *flags)
    ((_, _, status),) = sessions(tmp_path).values()
    assert status == api_pb2.STATUS_FAILURE
    train(make_dataset(), run, "--learning_rate=0.01", "--allow_config_change", *flags)
    names = sorted(path.suffix for path in run.glob("events.out.tfevents.*"))
    assert len(names) == 3
    assert names.count(".session_end") == 1
    ((name, (settings, values, status)),) = sessions(tmp_path).items()
    assert (name, status) == ("run", api_pb2.STATUS_SUCCESS)
    assert values["", "loss"] == last(events_of(run), "loss")
    assert settings["learning_rate"] == 1e38


def test_a_run_that_goes_on_or_was_killed_has_no_end(copied_run, tmp_path):
    directory = copied_run("lenet")
    hparams.remove_end(directory)
    ((_, _, status),) = sessions(tmp_path).values()
    assert status == api_pb2.STATUS_UNKNOWN


def test_settings_that_the_tab_cannot_show_are_left_out():
    settings = {
        **{"text": "a", "empty": "", "yes": True, "int": 3, "float": 0.5},
        **{"none": None, "list": ["a"], "nan": math.nan, "infinite": math.inf},
    }
    experiment, start = hparams.session_start(settings).value
    info = metadata.parse_session_start_info_plugin_data(start.metadata.plugin_data.content)
    assert set(info.hparams) == {"text", "empty", "yes", "int", "float"}
    assert (info.hparams["yes"].bool_value, info.hparams["int"].number_value) == (True, 3)
    columns = metadata.parse_experiment_plugin_data(experiment.metadata.plugin_data.content)
    assert {column.name for column in columns.hparam_infos} == set(settings)


@pytest.mark.parametrize("limit", [0, 100])
def test_a_full_disk_is_told_once(tmp_path, no_file_beyond, caplog, limit):
    """Of the end of a run, too."""
    with no_file_beyond(limit):
        hparams.write_end(tmp_path, 1, succeeded=True)
    (warning,) = caplog.messages
    assert re.fullmatch(r"cannot write .*\.session_end \(.*File too large\).*", warning)


def test_the_graph_is_left_alone(tmp_path):
    with tf.Graph().as_default() as graph:
        hparams.session_start({"name": 1})
        hparams.write_end(tmp_path, 1, succeeded=False)
    assert not graph.get_operations()
