"""Damaged and hostile files on every reader: some of the inputs of ``python -m benchmarks.fuzz``."""

import pytest

from benchmarks.fuzz import run
from benchmarks.fuzz_readers import READERS


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")  # it says what it reads past
@pytest.mark.parametrize("name", READERS)
def test_no_reader_crashes_runs_code_or_gives_another_content(name, tmp_path):
    assert run(name, 60, 0, tmp_path / "progress.json", most=60) == []
