import pandas as pd
import pytest

from analysis import published_table1, published_table2
from analysis.published import is_paper_input, is_paper_network


def test_table1_has_one_error_per_network_and_data_set():
    table = published_table1()
    assert len(table) == 10
    errors = table.set_index(["dataset", "n_subnetworks"])["error"]
    assert errors["cifar10", 1] == 5.03
    assert errors["cifar100", 18] == 20.46
    assert table["source"].str.contains("Table 1").all()


def test_table2_adds_up_to_its_totals():
    table = published_table2().set_index("n_subnetworks")
    parts = table[["preprocessing", "parallel_subnetworks", "coarse_network", "postprocessing"]]
    assert list(table.index) == [1, 3, 6, 12, 18, 24]
    assert (parts.sum(axis="columns") - table["total"]).abs().max() < 1e-9
    assert parts["coarse_network"].isna().tolist() == [True] + 5 * [False]
    assert table["speed_up"].idxmax() == 18
    assert table.loc[18, "speed_up"] == pytest.approx(1.4607 / 0.2326)


PAPER = {
    "network": "resnet",
    "depth": 1001,
    "width": 16,
    "n_subnetworks": 6,
    "strategy": "parareal",
    "partition": "uniform",
    "preprocess": "strided",
    "coarse": "units",
    "n_coarse_units": 2,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"width": None}, True),
        ({"depth": 164}, False),
        ({"depth": None}, False),
        ({"network": "my.nets:resnet"}, False),
        ({"width": 8}, False),
        ({"preprocess": "patch"}, False),
        ({"coarse": "shortcut"}, False),
        ({"partition": "staggered"}, False),
        ({"n_coarse_units": 1}, False),
        ({"strategy": "gpipe"}, False),
        ({"strategy": "serial"}, True),
        ({"n_subnetworks": 12}, False),
    ],
)
def test_paper_network_is_recognised(change, expected):
    frame = pd.DataFrame([PAPER | change]).astype({"depth": "Int64", "width": "Int64"})
    assert is_paper_network(frame).tolist() == [expected]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("cifar10", True),
        ("parquet:/data/cifar10-jpeg", True),
        ("synthetic", True),
        ("synthetic:3x32x32x100", True),
        ("synthetic:1x8x8x10", False),
        ("digits", False),
    ],
)
def test_paper_input_is_recognised(dataset, expected):
    assert is_paper_input(pd.DataFrame([{"dataset": dataset}])).tolist() == [expected]
