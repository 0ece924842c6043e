"""A trial's id is its key in every store there is."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import Sweep


def sweep(**options):
    """Of the network that these tests began with, whose trials have known ids."""
    return Sweep(**{"depth": 56, "width": 8} | options)


BASE = sweep(n_subnetworks=3).trials()[0]


def test_trial_ids_are_the_same_in_every_process():
    code = "from orchestrator.config import Sweep; print(*(t.trial_id for t in Sweep().trials()))"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.split() == [t.trial_id for t in Sweep().trials()]


@pytest.mark.parametrize(
    ("changes", "trial_id"),
    [
        ({}, "digits-resnet-56-n3-s0-dc88bfdb5d"),
        ({"strategy": "1f1b", "n_coarse_units": 12}, "digits-resnet-56-n3-1f1b-s0-8e5b541a31"),
        (
            {"n_subnetworks": 1, "strategy": "serial", "n_coarse_units": 12},
            "digits-resnet-56-n1-s0-ed636584cb",
        ),
    ],
)
def test_options_that_came_later_leave_the_trials_of_a_store_their_ids(changes, trial_id):
    strided = replace(BASE, preprocess="strided", **changes)  # the default in those days
    assert strided.trial_id == trial_id
    assert replace(strided, graphs=False, n_iterations=1).trial_id == trial_id


def test_another_default_at_the_cuts_leaves_the_network_in_one_piece_its_id():
    (serial,) = sweep(n_subnetworks=(1,), seed=(0,)).trials()
    assert serial.trial_id == "digits-resnet-56-n1-s0-ed636584cb"
    (asked,) = sweep(n_subnetworks=(3,), seed=(0,), preprocess=("strided",)).trials()
    assert asked.trial_id == "digits-resnet-56-n3-s0-dc88bfdb5d"
    assert BASE.preprocess == "auto"
    assert BASE.trial_id != asked.trial_id


def test_equal_trials_have_equal_ids():
    assert replace(BASE, weight_decay=0) == replace(BASE, weight_decay=0.0)
    assert replace(BASE, weight_decay=0).trial_id == replace(BASE, weight_decay=0.0).trial_id


@given(dataset=st.text(), network=st.text(max_size=100))
def test_a_trial_id_is_a_plain_file_name(dataset, network):
    trial_id = replace(BASE, dataset=dataset, network=network).trial_id
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", trial_id)


def test_a_trial_id_can_be_read():
    assert BASE.trial_id.startswith("digits-resnet-56-n3-s0-")
    assert replace(BASE, strategy="1f1b").trial_id.startswith("digits-resnet-56-n3-1f1b-s0-")
    paths = [replace(BASE, dataset=f"parquet:/a/{between}/b").trial_id for between in ("..", "._")]
    assert paths[0].startswith("parquet__a_.._b-resnet-56-n3-s0-")
    assert paths[0] != paths[1]


def test_a_long_path_leaves_no_hidden_file():
    names = [replace(BASE, dataset="parquet:" + "_./" * 20 + "x" * n).trial_id for n in range(40, 80)]
    assert not [name for name in names if name.startswith((".", "_"))]
