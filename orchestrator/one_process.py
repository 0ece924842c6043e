"""A trial's network in one process: what is torn, and what its parameters are called there."""

from dataclasses import replace

from models.feedforward import FeedForward, Shape
from models.registry import build_network
from models.task import build_task
from orchestrator.config import TrialConfig


def untorn(
    config: TrialConfig, *, input_shape: Shape, n_classes: int, vocabulary: int | None = None
) -> FeedForward:
    """The trial's network, in one piece, with its task.

    Raises:
        ValueError: there is none of that name, or its factory refuses what it is called with.
    """
    network = build_network(
        config.network,
        input_shape=input_shape,
        n_classes=n_classes,
        vocabulary=vocabulary,
        seed=config.seed,
        **config.network_options,
    )
    return replace(network, task=build_task(config.task, label_smoothing=config.label_smoothing))


def in_one_process(part: str, name: str, sizes: tuple[int, ...] = ()) -> str:
    """The name in a PararealNetwork of an actor's parameter; ``sizes`` are the stages' units."""
    kind, _, number = part.partition("-")
    if kind not in ("subnetwork", "stage"):
        return name
    j = int(number)
    component, _, rest = name.partition(".")
    if kind == "subnetwork":
        ours = {"preprocess": "preprocesses", "units": "subnetworks", "passes": "subnetwork_passes"}
        return f"{ours[component]}.{j - 1}.{rest}"
    if component == "preprocess":
        return f"preprocesses.0.{rest}"
    if component == "units":
        unit, _, rest = rest.partition(".")
        return f"subnetworks.0.{int(unit) + sum(sizes[: j - 1])}.{rest}"
    return name
