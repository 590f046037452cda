"""Serves a trained model over HTTP: a page for people, an API for programs.

    python serve_image_classifier.py --checkpoint_path=RUN

It answers at http://127.0.0.1:8501 (POST /classify, TensorFlow Serving's REST API, /healthz,
/metrics, /openapi.json) and takes up a newer checkpoint or export by itself.
"""

from typing import Any

from absl import flags as absl_flags
from absl import logging

from core import extras, script
from core.errors import FlagError
from core.flags import Group


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this script."""
    group = Group("Model", flag_values)
    group.string(
        "checkpoint_path",
        None,
        "Run directory (its newest checkpoint is taken), checkpoint, export, or directory of "
        "numbered exports.",
    )
    group.string("name", "classifier", "Name of the model in addresses and answers.")
    group.float("reload_secs", 10.0, "Look for a newer model so often; 0: never.", lower=0.0)

    group = Group("Address", flag_values)
    group.string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 is all of this machine.")
    group.integer("port", 8501, "Port to listen on; 0: any free one.", lower=0, upper=65535)

    group = Group("Limits", flag_values)
    group.float("max_image_mb", 10.0, "Largest upload, 10^6 bytes.", lower=0.001, upper=1000.0)
    group.integer(
        "max_image_pixels",
        25_000_000,
        "Largest picture, width times height; larger ones are refused by their header.",
        lower=1,
        upper=100_000_000,
    )
    group.integer(
        "queue_size",
        128,
        "Pictures that wait or are worked on at a time; more are told to come again.",
        lower=1,
        upper=10_000,
    )
    group.float(
        "request_deadline_secs", 30.0, "Longest wait for an answer once a picture is here.", 0.1
    )
    group.integer(
        "max_connections",
        1024,
        "Connections at a time; when there are more, the longest idle one is closed.",
        lower=1,
        upper=10_000,
    )
    group.integer(
        "drain_secs", 10, "Time for the requests under way when the server is stopped.", lower=0
    )

    group = Group("Speed", flag_values)
    group.integer(
        "max_batch_size", 16, "Pictures that are predicted together.", lower=1, upper=1024
    )
    group.float("max_wait_ms", 2.0, "Wait of a picture for others.", lower=0.0, upper=1000.0)
    group.integer("decoding_processes", 2, "Processes that decode uploads.", lower=1, upper=64)


def main(config: Any) -> None:
    """Loads the model, listens, and serves until a signal."""
    if not config.checkpoint_path:
        raise FlagError("--checkpoint_path is missing", remedy="name a run directory or an export")
    if not config.name or not config.name.isprintable() or set(config.name) & set("/:?#%"):
        raise FlagError(f"--name={config.name!a} cannot stand in an address")
    extras.need("serve", "fastapi", "uvicorn", "h11", "python_multipart", "prometheus_client")

    from inference.server import addresses

    with addresses.bound_socket(config.host, config.port) as bound:
        if not addresses.is_loopback(bound):
            logging.warning(
                "listening on %s: whoever reaches this machine can use the server", config.host
            )

        from inference.server import serving

        serving.run(config, bound, report=lambda text: print(text, flush=True))


if __name__ == "__main__":
    script.run(main, define, __doc__)
