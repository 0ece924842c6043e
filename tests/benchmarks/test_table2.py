import pytest

from analysis import load
from analysis.report import write_report
from benchmarks.table2 import main


def test_what_it_writes_is_a_store_with_a_report(tmp_path, capsys):
    asked = ["--depth", "11", "--n-subnetworks", "1", "--batch-size", "1", "--rounds", "1", "--repeats", "1"]
    main([*asked, "--device", "cpu", "--store", str(tmp_path)])
    assert "ResNet-11" in capsys.readouterr().out
    (trial,) = load(tmp_path).trials.to_dict("records")
    assert (trial["devices"], trial["graphs"]) == ("1 cpu", False)
    assert write_report(tmp_path)


def test_graphs_without_a_gpu_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--graphs"])
    assert "--graphs needs a GPU, not --device cpu: leave out one of them" in capsys.readouterr().err
