import pyarrow as pa
import pytest

from orchestrator.data.errors import DatasetError, reported


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (pa.ArrowInvalid("magic bytes not found"), "fetch it again"),
        (MemoryError("of 9 bytes"), "a machine with more"),
        (pa.ArrowException("Unknown error: Failed to launch worker thread: Resource …"), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
    ],
)
def test_a_file_is_to_be_fetched_again_only_where_that_may_help(error, remedy):
    with pytest.raises(DatasetError) as raised, reported("cannot read a file", "fetch it again"):
        raise error
    assert str(raised.value).startswith("cannot read a file")
    assert remedy in str(raised.value)
    assert ("fetch it again" in str(raised.value)) == (remedy == "fetch it again")
