"""The numbers of the paper, to stand beside our own.

Source: Y. Lee, J. Park, C.-O. Lee, "Parareal neural networks emulating a parallel-in-time
algorithm", Tables 1 and 2: ResNet-1001, batch size 128, 200 epochs, measured on one NVIDIA Titan
RTX. The paper gives no number of seeds, no spread, and no numbers for Figure 3.
"""

import pandas as pd

from analysis.configuration import UNTORN

SOURCE = "Y. Lee, J. Park, C.-O. Lee: Parareal neural networks emulating a parallel-in-time algorithm"
DEVICE = "NVIDIA Titan RTX"
BATCH_SIZE = 128
COARSE_COVERAGE = 12
"""N_c = ⌈12 / N⌉ (section 4)."""

_TABLE1 = """
1   5.03  21.13
3   4.51  21.02
6   4.35  20.94
12  4.37  20.77
18  4.11  20.46
"""
_TABLE2 = """
1   0.0010  1.4588  nan     0.0009  1.4607
3   0.0012  0.5966  0.0543  0.0008  0.6529
6   0.0019  0.3062  0.0638  0.0007  0.3726
12  0.0023  0.1583  0.0797  0.0009  0.2412
18  0.0025  0.1067  0.1224  0.0010  0.2326
24  0.0020  0.0797  0.1701  0.0008  0.2526
"""


def published_table1() -> pd.DataFrame:
    """Table 1, tidy: n_subnetworks, dataset ("cifar10" or "cifar100"), error (%), source."""
    frame = _parse(_TABLE1, ["cifar10", "cifar100"])
    frame = frame.melt("n_subnetworks", var_name="dataset", value_name="error")
    return frame.assign(source=f"{SOURCE}, Table 1")


def published_table2() -> pd.DataFrame:
    """Table 2: n_subnetworks, seconds per component, total (s), speed_up over N = 1, source.

    The coarse network's time is missing at N = 1, which has none.
    """
    components = ["preprocessing", "parallel_subnetworks", "coarse_network", "postprocessing"]
    frame = _parse(_TABLE2, [*components, "total"])
    serial = frame.loc[frame["n_subnetworks"] == 1, "total"].item()
    return frame.assign(speed_up=serial / frame["total"], source=f"{SOURCE}, Table 2")


def is_paper_network(configurations: pd.DataFrame) -> pd.Series:
    """Tell which rows are the paper's own network (section 4), however they were trained.

    That is ResNet-1001 of base width 16, in one piece or torn uniformly with strided preprocessing
    and N_c = ⌈12 / N⌉. Values that are missing (as at N = 1) contradict nothing.
    """
    n_coarse_units = -(-COARSE_COVERAGE // configurations["n_subnetworks"])
    expected = {
        "width": 16,
        "partition": "uniform",
        "preprocess": "strided",
        "coarse": "units",
        "n_coarse_units": n_coarse_units,
    }
    same = (configurations["network"] == "resnet") & (configurations["depth"] == 1001)
    same &= ~configurations["strategy"].isin(UNTORN)
    for column, value in expected.items():
        same &= configurations[column].isna() | (configurations[column] == value)
    return same.fillna(False).astype(bool)


def is_whole_dataset(configurations: pd.DataFrame) -> pd.Series:
    """Tell which rows were trained and validated on all images of their data set."""
    return configurations[["train_subset", "validation_subset"]].isna().all(axis="columns")


def is_paper_input(timings: pd.DataFrame) -> pd.Series:
    """Tell which rows were timed on what Table 2 was: colour images of 32×32, whatever the batch."""
    return timings["dataset"].str.contains("cifar|^svhn$|^synthetic$|^synthetic:3x32x32x", na=False)


def _parse(text: str, columns: list[str]) -> pd.DataFrame:
    rows = [line.split() for line in text.split("\n") if line]
    frame = pd.DataFrame(rows, columns=["n_subnetworks", *columns]).astype(float)
    return frame.astype({"n_subnetworks": "Int64"})
