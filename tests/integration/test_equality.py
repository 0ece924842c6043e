"""Actor-parallel training equals training the same network in one process, gradient by gradient."""

import io

import pytest
import ray
import torch

from benchmarks.one_process import in_one_process, one_process
from models.partition import uniform
from orchestrator.actors import gang
from orchestrator.config import PIPELINES
from orchestrator.data.datasets import load_dataset
from tests.integration.apart import DriverApart, SubnetworkApart


def relative(a, b):
    return ((a - b).norm() / b.norm()).item() if b.norm() else a.norm().item()


# Training is chaotic: more steps would blow rounding up, whatever rounds.
ONE_STEP_IN_FLOAT32 = {"precision": "float32", "train_subset": 10, "batch_size": 10, "epochs": 1}
ONE_STEP_IN_BFLOAT16 = ONE_STEP_IN_FLOAT32 | {"precision": "bfloat16", "channels_last": True}


@pytest.mark.parametrize(
    ("n_subnetworks", "options"),
    [
        (1, {}),
        (2, {}),
        (3, {"preprocess": "patch"}),
        (6, {}),
        (3, ONE_STEP_IN_FLOAT32),
        (2, ONE_STEP_IN_BFLOAT16),
        (3, {"preprocess": "stem", "coarse": "shortcut", "channels_last": True}),
        (3, {"strategy": "serial"}),
        *((n, {"network": "mlp", "depth": 8, "width": 12}) for n in (1, 2, 3)),
        *((n, {"network": "vgg", "depth": 11, "width": 4, "preprocess": "patch"}) for n in (1, 2, 3)),
        *((n, {"network": "vit", "depth": 6, "width": 12}) for n in (1, 2, 3)),
        (3, {"strategy": "data_parallel", "network": "mlp", "depth": 6, "width": 12}),  # shares of 3, 3, 2
        (2, {"strategy": "gpipe", "network": "mlp", "depth": 6, "width": 12}),
        (2, ONE_STEP_IN_BFLOAT16 | {"strategy": "gpipe", "network": "mlp", "depth": 6, "width": 12}),
        (
            3,
            {
                "strategy": "1f1b",
                "network": "vit",
                "depth": 7,
                "width": 12,
                "train_subset": 12,
                "batch_size": 6,
            },
        ),
    ],
)
def test_actor_run_equals_one_process_run(start_gang, trial, n_subnetworks, options):
    check_equality(start_gang, trial(n_subnetworks=n_subnetworks, **options))


def test_actors_on_different_hosts_equal_one_process_as_well(start_gang, trial, monkeypatch):
    monkeypatch.setattr(gang, "DriverActor", DriverApart)
    monkeypatch.setattr(gang, "SubnetworkActor", SubnetworkApart)
    check_equality(start_gang, trial(n_subnetworks=3, channels_last=True))


def load(config):
    """The trial's images."""
    return load_dataset(
        config.dataset, train_subset=config.train_subset, validation_subset=config.validation_subset
    )


def check_equality(start_gang, config):
    """Compare weights, gradients and metrics of the actors with those of one process."""
    tolerance = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 4e-2}[config.precision]
    expected, expected_metrics = one_process(config, load(config))
    with start_gang(config) as actors:
        reports = [actors.run_epoch(epoch) for epoch in range(1, config.epochs + 1)]
        gradients = dict(
            zip(actors.parts, ray.get([a.gradients.remote() for a in actors.actors]), strict=True)
        )

    for report, metrics in zip(reports, expected_metrics, strict=True):
        (lead,) = (of_actor for of_actor in report.values() if of_actor.metrics)
        for name, value in metrics.items():
            assert lead.metrics[name] == pytest.approx(value, rel=tolerance), name
    states = {}
    actual_gradients = {}
    n_units = len(expected.subnetworks[0])
    sizes = uniform(n_units, config.n_subnetworks) if config.strategy in PIPELINES else ()
    for part, report in reports[-1].items():
        if report.state:
            state = torch.load(io.BytesIO(report.state), weights_only=True)["module"]
            states |= {in_one_process(part, name, sizes): value for name, value in state.items()}
        actual_gradients |= {in_one_process(part, n, sizes): value for n, value in gradients[part].items()}
    # Weights and BatchNorm statistics, all of them and no others.
    assert states.keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert relative(states[name].double(), value.double()) <= tolerance, name
    assert actual_gradients.keys() == dict(expected.named_parameters()).keys()
    whole = torch.cat([parameter.grad.flatten() for parameter in expected.parameters()]).norm()
    for name, parameter in expected.named_parameters():
        difference = (actual_gradients[name] - parameter.grad).norm()
        # A gradient that vanishes but for rounding is compared with the whole one.
        assert difference <= tolerance * max(parameter.grad.norm(), 1e-3 * whole), name
