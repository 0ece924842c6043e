"""For every test: the same random numbers in every run, one thread, no deadlines on a shared machine."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tensors this small only lose by sharing the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Whatever else ran before."""
    torch.manual_seed(0)
