"""Nothing that is read can run code, and nothing that a user writes reaches a shell."""

import ast
import hashlib
import io
import json
import pickle
from pathlib import Path

import pytest

from orchestrator.storage.checkpoint import load_latest, save
from tests.orchestrator.actors.test_actor import make_actor

ROOT = Path(__file__).parents[1]
SOURCES = [
    file for package in ("models", "orchestrator", "analysis") for file in (ROOT / package).glob("**/*.py")
]
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "cloudpickle.load",
    "cloudpickle.loads",
    "os.system",
    "os.popen",
    "np.load",
    "pd.read_pickle",
    "yaml.load",
    "yaml.unsafe_load",
    "subprocess.getoutput",
}


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def options(call):
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_source_unpickles_or_calls_a_shell(file):
    tree = ast.parse(file.read_text())
    imported = {
        name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
        # To tell what cannot be sent, its errors are caught: nothing is read with those.
        if not (isinstance(node, ast.ImportFrom) and all(n.name.endswith("Error") for n in node.names))
    }
    assert not imported & FORBIDDEN_MODULES
    for call in calls(tree):
        name = ast.unparse(call.func)
        assert name not in FORBIDDEN_CALLS
        assert "shell" not in options(call)
        if name == "torch.load":
            assert options(call)["weights_only"] == "True"


class Harmful:
    """What runs code when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    """Also where whoever made it has computed its checksum."""
    actor, harm = make_actor(), tmp_path / "harm"
    contents = {"subnetwork-1": pickle.dumps(Harmful(harm), protocol=2)}
    save(tmp_path / "trial", 1, contents)
    manifest = json.loads((tmp_path / "trial" / "epoch-0001" / "manifest.json").read_text())
    assert manifest["subnetwork-1"] == hashlib.sha256(contents["subnetwork-1"]).hexdigest()
    _, states = load_latest(tmp_path / "trial", tell=pytest.fail)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        actor.restore(states["subnetwork-1"])
    assert not harm.exists()
    pickle.load(io.BytesIO(contents["subnetwork-1"]))
    assert harm.exists()  # so it was harmful
