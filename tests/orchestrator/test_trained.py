"""Which trial's network is loaded, after which epoch, and what is refused."""

import importlib
import io
import sys

import pytest
import torch
from torch import nn

from analysis import StoreError
from models import PararealNetwork, imported
from orchestrator import export, formats, load_network
from orchestrator.config import Sweep, config_columns, config_of
from orchestrator.data.datasets import load_dataset
from orchestrator.devices import GangResources
from orchestrator.own_code import fingerprint
from orchestrator.plan import describe, tear_as_asked
from orchestrator.storage import checkpoint
from orchestrator.storage.store import Store
from orchestrator.trial import Job, data_columns, record_untrained

SWEEP = Sweep(
    dataset="synthetic:1x4x4x3x24", network="mlp", depth=6, width=4, batch_size=8, strategy="serial", epochs=3
)
OWN = """
import torch
from torch import nn

class Unit(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

def net(*, input_shape, n_classes):
    return nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(16, 4)), Unit(), Unit(), nn.Linear(4, n_classes)
    )
"""


def leave(store, config, epochs=(2, 3)):
    """What a trial of one process leaves in a store: weights that are all the epoch."""
    images = load_dataset(config.dataset)
    tearing = tear_as_asked(config, describe(config, images))
    known = data_columns(images, config, tearing.network.task) | {
        "code_fingerprint": fingerprint(config.network, config.task)
    }
    record_untrained(Job(config, tearing, GangResources(1, "cpu", cpus=0.1, gpus=0), known), store)
    store.write(
        "epochs",
        config.trial_id,
        [{"trial_id": config.trial_id, "epoch": e, "validation_error": abs(e - 2.0)} for e in (1, 2, 3)],
    )
    network = PararealNetwork(tearing, config.n_iterations)
    for epoch in epochs:
        state = {name: torch.full_like(value, epoch) for name, value in network.state_dict().items()}
        others = {n: torch.full_like(b, epoch) for n, b in network.named_buffers() if n not in state}
        buffer = io.BytesIO()
        torch.save({"module": state, "optimizer": {}, "other_buffers": others}, buffer)
        checkpoint.save(store.checkpoints(config.trial_id), epoch, {"network": buffer.getvalue()})
    return config.trial_id


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def epoch_of(network):
    (value,) = {value.item() for tensor in network.state_dict().values() for value in tensor.unique()}
    return value


def test_a_row_of_the_store_is_its_trial():
    for config in SWEEP.but(n_subnetworks=(1, 2), milestones=(), train_subset=20, clip_norm=1.0).trials():
        assert config_of(config_columns(config)) == config
        assert (
            config_of(config_columns(config) | {"n_iterations": None}) == config
        )  # of before there were any


def test_options_or_an_id_say_which_trial(store):
    ids = {
        (c.n_subnetworks, c.seed): leave(store, c)
        for c in SWEEP.but(n_subnetworks=(1, 2), seed=(0, 1)).trials()
    }
    network = load_network(store.path, n_subnetworks=2, seed=1)
    assert len(network.subnetworks) == 2
    assert not network.training
    assert len(load_network(str(store.path), ids[1, 0]).subnetworks) == 1
    several = (
        rf"has 2 trials \(n_subnetworks=2\): give one of N = 2, seed 0 \({ids[2, 0]}\); N = 2, seed 1 \("
    )
    with pytest.raises(ValueError, match=several.replace("N = 2, ", "(N = 2, )?")):
        load_network(store.path, n_subnetworks=2)
    with pytest.raises(
        ValueError, match=r"has no trials \(other\): give one of N = 1, seed 0 \(.*; N = 2, seed 1 "
    ):
        load_network(store.path, "other")
    with pytest.raises(ValueError, match="no trial has an option subnetworks: give some of "):
        load_network(store.path, subnetworks=2)


def test_an_early_store_that_does_not_know_its_datas_shape_is_read(store):
    trial_id = leave(store, *SWEEP.trials())
    (row,) = store.read("trials", trial_id)
    store.write(
        "trials", trial_id, [row | {"input_shape": None, "n_classes": None, "code_fingerprint": None}]
    )
    assert epoch_of(load_network(store.path)) == 3


def test_what_holds_no_trial_is_refused(store, tmp_path):
    with pytest.raises(ValueError, match=r"has no trials \(any\): give one of none: it is empty"):
        load_network(store.path)
    with pytest.raises(StoreError, match="is no result store"):
        load_network(tmp_path / "elsewhere")


def test_an_epoch_is_the_last_the_best_or_its_number(store):
    (config,) = SWEEP.trials()
    leave(store, config)
    assert epoch_of(load_network(store.path)) == 3
    assert epoch_of(load_network(store.path, epoch="best")) == 2
    assert epoch_of(load_network(store.path, epoch=2)) == 2
    with pytest.raises(ValueError, match=r"no checkpoint of epoch 1: there are those of 2 and 3$"):
        load_network(store.path, epoch=1)
    checkpoint.save(store.checkpoints(config.trial_id), 4, {"network": b"damaged"})
    (store.checkpoints(config.trial_id) / "epoch-0004" / "network.pt").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"epoch-0004 is damaged \(network.pt\): using the one before"):
        assert epoch_of(load_network(store.path)) == 3
    with pytest.raises(ValueError, match=r"no checkpoint of epoch 2: .* with --keep best keeps the best"):
        load_network(store.path, epoch="best")


def test_a_trial_without_checkpoint_is_refused(store):
    leave(store, *SWEEP.trials(), epochs=())
    with pytest.raises(ValueError, match="has no checkpoint in "):
        load_network(store.path)


def test_ones_own_network_comes_with_all_its_buffers_and_not_with_other_code(store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "of_mine.py"
    source.write_text(OWN)
    leave(store, *SWEEP.but(network="of_mine:net", depth=None, width=None, n_subnetworks=1).trials())
    assert load_network(store.path).get_buffer("subnetworks.0.1.seen") == 3

    def edit(before, after):
        source.write_text(OWN.replace(before, after))
        sys.modules.pop("of_mine")
        importlib.invalidate_caches()

    edit("nn.Flatten()", "nn.Flatten(1)")
    with pytest.raises(ValueError, match=r"the code of of_mine:net is not what .* was trained with \(then "):
        load_network(store.path)
    assert epoch_of(load_network(store.path, accept_changed_code=True)) == 3
    edit("self.register", "self.other = nn.Linear(1, 1); self.register")
    with pytest.raises(
        ValueError, match=r"is not what was trained \(Error.*Missing key.* bring back the versions"
    ):
        load_network(store.path, accept_changed_code=True)
    sys.modules.pop("of_mine")


def test_a_network_that_cannot_be_imported_is_given(store, monkeypatch):
    def net(*, input_shape, n_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, n_classes))

    leave(store, *SWEEP.but(network=net, depth=None, width=None, milestones=(2,)).trials())
    monkeypatch.setattr(imported, "_KEPT", {})  # another process
    with pytest.raises(ValueError, match="was given as an object, of a script or notebook: give it again"):
        load_network(store.path)
    assert epoch_of(load_network(store.path, network=net, milestones=(2,))) == 3
    net.__module__ = "script"  # what was __main__ is imported
    assert epoch_of(load_network(store.path, network=net)) == 3
    net.__defaults__ = (1,)  # other code
    with pytest.raises(ValueError, match="has no trials"):
        load_network(store.path, network=net)
    assert epoch_of(load_network(store.path, network=net, accept_changed_code=True)) == 3


def test_an_export_is_refused_before_anything_is_loaded(store, capsys, monkeypatch):
    def refused(file):
        assert export.main([str(store.path), "any", file]) == 2
        return capsys.readouterr().err

    assert "a.zip is of no known format: give .safetensors, .pt2, .onnx\n" in refused("a.zip")
    monkeypatch.setitem(formats.PACKAGES, ".onnx", ("json", "no_such_package"))
    assert ".onnx needs what is not installed: pip install no_such_package\n" in refused("a.onnx")
    assert "has no trials (any)" in refused("a.pt2")


def test_a_network_that_cannot_be_traced_is_told_of(store, tmp_path, monkeypatch):
    class Choosy(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    leave(store, *SWEEP.trials())
    network = load_network(store.path)
    network.postprocess = Choosy(4, 3)
    with pytest.raises(
        ValueError, match=r"MLP.* cannot be traced for .pt2 \(.*: write its weights, as .safet"
    ):
        export.export(network, tmp_path / "a.pt2")
    assert list(tmp_path.glob("a*")) == []
