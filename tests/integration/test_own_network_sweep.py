"""The command of docs/own-network.md sweeps the network of that page."""

import re
import shlex
from pathlib import Path

from analysis import load
from orchestrator import status
from tests.preloaded import start_python

PAGE = (Path(__file__).parents[2] / "docs" / "own-network.md").read_text(encoding="utf-8")
# Later options win. One trial and few steps of a narrower network: the same path, in seconds.
SMALLER = [*("--n-subnetworks", "2", "--seed", "0", "--epochs", "1", "--train-subset", "320")]
SMALLER += ["--width", "8", "--timing-repeats", "0"]


def test_ones_own_network_is_swept_as_the_page_says(tmp_path: Path) -> None:
    module = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / "my_networks.py").write_text(module, encoding="utf-8")
    (command,) = re.findall(r"```bash\npython (.*?)\n```", PAGE, re.DOTALL)
    words = [*shlex.split(command), *SMALLER]
    process = start_python(words, folder=tmp_path)
    output = process.stdout.read()
    assert process.wait() == 0, output
    trials = load(tmp_path / "results" / "plain").trials
    assert list(trials["n_subnetworks"]) == [2]
    assert list(trials["status"]) == ["finished"]
    assert (tmp_path / "results" / "plain" / "report" / "figure3.png").exists()

    # and can be followed
    assert status.main([str(tmp_path / "results" / "plain")]) == 0
    events = (tmp_path / "results" / "plain" / "tensorboard").glob("*/events.out.tfevents.*")
    assert sorted(file.parent.name for file in events) == sorted(trials["trial_id"])
