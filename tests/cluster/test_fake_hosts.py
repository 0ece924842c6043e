"""From a laptop to three hosts and back, by the commands of docs/cluster.md and the project's own file.

Outside the quick suite: ``pytest -m cluster -s tests/cluster`` as root. Hosts have no network but each other,
so what they install comes from a folder that is filled beforehand (6 GB, kept for the next run).
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.rig import SHARED, Host, fake_hosts, why_not

ROOT = Path(__file__).parents[2]
FILE = "cluster.on-premises.yaml"
RAY = "python -m ray.scripts.scripts"
reason = why_not()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(reason is not None, reason=str(reason)),
]


@pytest.fixture(scope="module")
def packages() -> Path:
    """All that a host installs, in uv's cache and as wheels for pip."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "parareal-fake-hosts"
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder / "wheels", "uv"]
    uv = [sys.executable, "-m", "uv"]
    environment = os.environ | {"UV_CACHE_DIR": str(folder / "uv"), "UV_LINK_MODE": "symlink"}
    scratch = folder / "scratch"
    for command in (
        pip,
        [*uv, "venv", "--quiet", "--clear", "--python", Path(sys.executable).resolve(), scratch],
        [*uv, "pip", "install", "--quiet", "--python", scratch / "bin" / "python", "-e", f"{ROOT}[cluster]"],
        ["chmod", "-R", "a+rwX", folder],
    ):
        subprocess.run(command, check=True, env=environment)
    shutil.rmtree(scratch)
    return folder


class Laptop:
    """The machine that the user sits at; says what it runs and how long it took."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def run(self, command: str) -> str:
        """Run a command of the docs in the project's folder."""
        start = time.monotonic()
        real = re.sub(r"\bray (?=up|exec|rsync-down|down|get-auth-token)", f"{RAY} ", command)
        output = self.host.run(f"cd project && export PATH={ROOT}/.venv/bin:$PATH && {real}")
        print(f"\n$ {command}    # {time.monotonic() - start:.0f} s\n{output}", flush=True)
        return output


@pytest.fixture(scope="module")
def hosts(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    """A laptop with a checkout of the project, and three hosts with two cores each and nothing installed."""
    profile = {
        "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 2, "object_store_memory": 200_000_000}),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": f"{SHARED}/wheels",
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": f"{SHARED}/uv",
        "UV_LINK_MODE": "symlink",
    }
    names = ["laptop", "head", "worker-1", "worker-2"]
    folder = tmp_path_factory.mktemp("hosts")
    with fake_hosts(names, folder, shared=packages, venv=ROOT / ".venv", profile=profile) as hosts:
        listing = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        files = [name for name in listing.stdout.splitlines() if (ROOT / name).exists()]
        hosts["laptop"].copy(ROOT, [*files, ".git"], "project")
        text = (ROOT / FILE).read_text(encoding="utf-8")
        workers = ", ".join(hosts[name].address for name in names[2:])
        text = re.sub(r"head_ip: [\d.]+", f"head_ip: {hosts['head'].address}", text)
        text = re.sub(r"worker_ips: \[.*\]", f"worker_ips: [{workers}]", text)
        (folder / FILE).write_text(text, encoding="utf-8")
        hosts["laptop"].copy(folder, [FILE], "project")
        yield hosts
        pids = [host.pid for host in hosts.values()]
    assert wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 60)
    assert "bridge0" not in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def laptop(hosts: dict[str, Host]) -> Iterator[Laptop]:
    """The laptop, with the cluster up; it is taken down in the end."""
    laptop = Laptop(hosts["laptop"])
    laptop.run("ray get-auth-token --generate > /dev/null")
    laptop.run(f"ray up -y {FILE}")
    yield laptop
    laptop.run(f"ray down -y {FILE}")
    start = time.monotonic()
    assert wait_for(lambda: ray_processes(hosts) == [], 180), ray_processes(hosts)
    print(f"\nnothing of Ray is left on the hosts after another {time.monotonic() - start:.0f} s")


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(1)
    return met


def ray_processes(hosts: dict[str, Host]) -> list[str]:
    """What is running of Ray on the hosts."""
    everything = [line for name, host in hosts.items() if name != "laptop" for line in host.processes()]
    return [line for line in everything if "ray" in line]


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    assert match, text
    return match[0]


def test_a_sweep_spans_hosts_and_its_results_come_back(laptop: Laptop) -> None:
    sweep = (
        "python -m orchestrator.sweep --address auto --n-subnetworks 1 5 --seed 0 --depth 56 --width 4 "
        "--epochs 2 --train-subset 640 --batch-size 32 --timing-repeats 2"
    )
    output = laptop.run(f"ray exec {FILE} '{sweep}'")
    assert "2/2 trials done" in output

    listing = "ray list actors --detail --format json --limit 100 --filter class_name=SubnetworkActor"
    actors = json.loads(found(r"^\[\{.*\}\]", laptop.run(f"ray exec {FILE} '{listing}'")))
    assert len(actors) == 5
    assert len({actor["node_id"] for actor in actors}) == 3

    laptop.run(f"ray rsync-down {FILE} '~/results/' results/")
    report = "from analysis import load; from analysis.report import write_report; "
    report += "print(load('results/quickstart').table1()); print(*write_report('results/quickstart'))"
    output = laptop.run(f'python -c "{report}"')
    assert "figure3.png" in output
    trials = "from analysis import load; trials = load('results/quickstart').trials; "
    trials += "print(trials[['status', 'host', 'commit']].to_json())"
    trials = json.loads(found(r"^\{.*\}$", laptop.run(f'python -c "{trials}"')))
    assert set(trials["status"].values()) == {"finished"}
    assert set(trials["host"].values()) == {"head"}
    assert all(commit for commit in trials["commit"].values())


def test_requests_without_the_token_are_refused(laptop: Laptop, hosts: dict[str, Host]) -> None:
    status = f"parareal-venv/bin/ray status --address {hosts['head'].address}:6379"
    worker = hosts["worker-1"]
    assert "Active" in worker.run(f"RAY_AUTH_MODE=token {status}")
    for wrong in ("RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong"):
        output = worker.run(f"{wrong} {status}", check=False)
        assert "Active" not in output
        assert "uthenticat" in output
    sweep = "parareal-venv/bin/python -m orchestrator.sweep --address auto"
    refused = worker.run(f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN=wrong {sweep}", check=False)
    assert "does not accept this user's token" in refused


def test_the_dashboard_listens_to_the_head_alone(laptop: Laptop, hosts: dict[str, Host]) -> None:
    ask = "curl --silent --show-error --max-time 5"
    assert "Ray" in hosts["head"].run(f"{ask} 127.0.0.1:8265")
    refused = hosts["worker-1"].run(f"{ask} {hosts['head'].address}:8265", check=False)
    assert refused.startswith("curl: (7) Failed to connect")
