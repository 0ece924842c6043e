"""Every unit in exactly one subnetwork, and the paper's ⌈n / N⌉ rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.partition import PARTITIONS, check, uniform


@given(n_units=st.integers(1, 400), n_subnetworks=st.integers(1, 60))
def test_uniform_follows_the_ceil_rule_or_names_a_number_that_works(n_units: int, n_subnetworks: int) -> None:
    size = -(-n_units // n_subnetworks)
    rest = n_units - size * (n_subnetworks - 1)
    if rest >= 1:
        sizes = uniform(n_units, n_subnetworks)
        assert sizes == (size,) * (n_subnetworks - 1) + (rest,)
        assert check(sizes, n_units) == sizes
        return
    with pytest.raises(ValueError, match="subnetworks") as caught:
        uniform(n_units, n_subnetworks)
    if n_subnetworks <= n_units:
        remedy = int(str(caught.value).rsplit("--n-subnetworks ", 1)[1])
        assert len(uniform(n_units, remedy)) == remedy < n_subnetworks


@pytest.mark.parametrize(
    ("n_subnetworks", "expected"),
    [
        (1, (333,)),
        (3, (111,) * 3),
        (6, (56,) * 5 + (53,)),
        (12, (28,) * 11 + (25,)),
        (18, (19,) * 17 + (10,)),
        (24, (14,) * 23 + (11,)),
    ],
)
def test_the_papers_partitions_of_resnet_1001(n_subnetworks: int, expected: tuple[int, ...]) -> None:
    assert uniform(333, n_subnetworks) == expected


@pytest.mark.parametrize(
    ("n_units", "n_subnetworks", "message"),
    [
        (10, 0, "n_subnetworks = 0"),
        (10, -1, "n_subnetworks = -1"),
        (10, 11, "11 subnetworks need at least 11 units, the network has 10"),
        (10, 6, "⌈10/6⌉ = 2 leave the last ones empty: 5 subnetworks of 2 .*--n-subnetworks 5"),
    ],
)
def test_uniform_refuses_empty_subnetworks(n_units: int, n_subnetworks: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        uniform(n_units, n_subnetworks)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_check_accepts_any_split_of_all_units(sizes: list[int]) -> None:
    assert check(sizes, sum(sizes)) == tuple(sizes)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "at least one unit"),
        ([5, 0, 5], r"\(5, 0, 5\): every subnetwork needs at least one unit"),
        ([11, -1], "at least one unit"),
        ([4, 5], "holds 9 units, the network has 10"),
        ([6, 5], "holds 11 units, the network has 10"),
    ],
)
def test_check_refuses_lost_and_doubled_units(sizes: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(sizes, 10)


def test_the_papers_partition_has_a_name() -> None:
    assert PARTITIONS["uniform"](333, 6) == (56,) * 5 + (53,)
