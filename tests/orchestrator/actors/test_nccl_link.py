import pytest
from torch import distributed as dist

from orchestrator.actors.nccl_link import MOST_CTAS, options


@pytest.mark.skipif(not dist.is_nccl_available(), reason="torch without NCCL")
def test_a_link_leaves_most_of_the_gpu_to_what_is_computed():
    of_link = options(30)
    assert (of_link.config.min_ctas, of_link.config.max_ctas) == (1, MOST_CTAS)
    assert of_link.is_high_priority_stream
    assert of_link._timeout.total_seconds() == 30
