"""The smallest stride between two images, against a search."""

from hypothesis import given
from hypothesis import strategies as st

from models.strides import stride_between

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(before=sizes, after=sizes)
def test_it_is_the_smallest_that_leads_there(before: tuple[int, int], after: tuple[int, int]) -> None:
    found = [s for s in range(1, 13) if tuple(-(-length // s) for length in before) == after]
    assert stride_between((3, *before), (16, *after)) == (min(found) if found else None)
