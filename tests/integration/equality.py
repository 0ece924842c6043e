"""What it takes for actors to have trained what one process trains."""

import io

import pytest
import ray
import torch

from benchmarks.one_process import one_process
from models.partition import uniform
from orchestrator.actors.gang import part_of
from orchestrator.config import PIPELINES
from orchestrator.data.datasets import load_dataset
from orchestrator.one_process import in_one_process


def load(config):
    """The trial's images."""
    return load_dataset(
        config.dataset, train_subset=config.train_subset, validation_subset=config.validation_subset
    )


def relative(a, b):
    return ((a - b).norm() / b.norm()).item() if b.norm() else a.norm().item()


def check_equality(start_gang, config, **how):
    """Compare weights, gradients and metrics of the actors with those of one process."""
    with start_gang(config) as actors:
        reports = [actors.run_epoch(epoch) for epoch in range(1, config.epochs + 1)]
        told = ray.get([actor.gradients.remote() for actor in actors.actors])
    gradients = dict(zip(actors.parts, told, strict=True))
    tolerance = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 4e-2}[config.precision]
    expected, expected_metrics = one_process(config, load(config), **how)
    for report, metrics in zip(reports, expected_metrics, strict=True):
        (lead,) = (of_actor for of_actor in report.values() if of_actor.metrics)
        for name, value in metrics.items():
            assert lead.metrics[name] == pytest.approx(value, rel=tolerance), name
    states = {}
    actual_gradients = {}
    n_units = len(expected.subnetworks[0])
    sizes = uniform(n_units, config.n_subnetworks) if config.strategy in PIPELINES else ()
    for name_of_actor, report in reports[-1].items():
        part = part_of(name_of_actor)
        if report.state:
            state = torch.load(io.BytesIO(report.state), weights_only=True)["module"]
            states |= {in_one_process(part, name, sizes): value for name, value in state.items()}
        for name, value in gradients[name_of_actor].items():
            of_first = actual_gradients.setdefault(in_one_process(part, name, sizes), value)
            assert torch.equal(value, of_first), f"{name} of {name_of_actor}"  # where there are replicas
    # Weights and BatchNorm statistics, all of them and no others.
    assert states.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert relative(states[name].double(), value.double()) <= tolerance, name
    wanted = {name: p.grad for name, p in expected.named_parameters() if p.grad is not None}
    assert actual_gradients.keys() == wanted.keys()
    whole = torch.cat([gradient.flatten() for gradient in wanted.values()]).norm()
    for name, gradient in wanted.items():
        difference = (actual_gradients[name] - gradient).norm()
        # A gradient that vanishes but for rounding is compared with the whole one.
        assert difference <= tolerance * max(gradient.norm(), 1e-2 * whole), name
