"""PyTorch on the CPU, eager, channels last: a net of torchvision or timm, pictures from memory.

It imports nothing of TensorFlow's, so that another interpreter can run it.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.contestants import serving


def _net(library: str, model: str, classes: int) -> Any:
    """An untrained net."""
    if library == "timm":
        import timm

        return timm.create_model(model, num_classes=classes)
    import torchvision

    has_auxiliary_heads = model in ("googlenet", "inception_v3")
    more = {"aux_logits": False, "init_weights": False} if has_auxiliary_heads else {}
    return getattr(torchvision.models, model)(weights=None, num_classes=classes, **more)


def make(spec: Mapping[str, Any]) -> serving.Contestant:
    """Builds the net in training mode; the task "step" trains it.

    Args:
        spec: library ("torchvision" or "timm"), model (its name there), pool (file with the
            pictures), batch_size, momentum, learning_rate, mixed_precision, classes.
    """
    import numpy as np
    import torch

    net = _net(spec["library"], spec["model"], spec["classes"])
    net = net.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        net.parameters(), lr=spec["learning_rate"], momentum=spec["momentum"]
    )
    loss_of = torch.nn.CrossEntropyLoss()
    with np.load(spec["pool"]) as pool:
        # As channels first, which is how PyTorch counts them; in memory they stay where they are.
        images = torch.from_numpy(pool["images"]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(pool["labels"])
    batches = list(
        zip(images.split(spec["batch_size"]), labels.split(spec["batch_size"]), strict=True)
    )
    taken = 0

    def step() -> None:
        nonlocal taken
        pictures, truth = batches[taken % len(batches)]
        taken += 1
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=spec["mixed_precision"] == "bfloat16"):
            loss = loss_of(net(pictures), truth)
        loss.backward()
        optimizer.step()

    facts = {"torch": torch.__version__}
    return serving.Contestant({"step": lambda count: serving.timed(step, count)}, facts)


if __name__ == "__main__":
    serving.serve(make)
