"""Fake hosts on one Linux machine: namespaces with a root file system, a network and an sshd each.

    laptop ──┐
    head ────┼── a bridge in the laptop's own network namespace: nothing leaves the machine
    worker ──┘

Every host sees this machine's programs under an overlay, and has its own /tmp, /dev/shm, /run, users and
processes. Nothing has a name outside: when the hosts' first processes end, the kernel takes back everything.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "ubuntu"
SHARED = "/shared"
"""Where hosts find the shared folder."""

NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]

BOOT = r"""
set -eu
umask 022
mount --make-rprivate /
hostname "$NAME"
mount -t tmpfs -o size=8g tmpfs "$MOUNT"
mkdir "$MOUNT/upper" "$MOUNT/work" "$MOUNT/root"
mount -t overlay -o "lowerdir=/,upperdir=$MOUNT/upper,workdir=$MOUNT/work" overlay "$MOUNT/root"
cd "$MOUNT/root"
mount -t proc proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777,size=1g tmpfs dev/shm
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/sshd ".$SHARED" .old
mount --bind "$SHARED_FROM" ".$SHARED"
if [ -n "$VENV" ]; then mkdir -p ".$VENV"; mount --bind "$VENV" ".$VENV"; fi

# The interpreter that runs the tests is the hosts' python3 too; it may live below root's home.
folder=$(dirname "$PYTHON")
while [ "$folder" != / ]; do chmod o+x ".$folder"; folder=$(dirname "$folder"); done
printf '%s\n' "$PROFILE" > etc/profile.d/host.sh

id "$USER_NAME" > /dev/null 2>&1 ||
    chroot . useradd --create-home --shell /bin/bash --password '*' "$USER_NAME"
home="home/$USER_NAME"
install -d -m 700 "$home/.ssh"
install -m 600 "$KEY" "$home/.ssh/id_ed25519"
install -m 600 "$KEY.pub" "$home/.ssh/authorized_keys"
[ "$NAME" = laptop ] || rm "$home/.ssh/id_ed25519"
chroot . chown -R "$USER_NAME:" "/$home/.ssh"
ssh-keygen -q -t ed25519 -N '' -f run/sshd/key
printf '%s\n' 'HostKey /run/sshd/key' 'PasswordAuthentication no' 'KbdInteractiveAuthentication no' \
    'PermitRootLogin no' 'PidFile none' 'MaxStartups 100' 'MaxSessions 100' > run/sshd/config

pivot_root . .old
umount -l /.old
cd /
/usr/sbin/sshd -D -f /run/sshd/config &
touch /run/ready
# The first process of a machine takes in orphans.
exec "$PYTHON" -c 'import os
while True: os.wait()'
"""


@dataclass(frozen=True)
class Host:
    """A fake host; ``pid`` is its first process."""

    name: str
    address: str
    pid: int

    def enter(self, *command: str) -> list[str]:
        """The command, to be run on the host as root."""
        return ["nsenter", f"--target={self.pid}", "-m", "-n", "-p", "-u", "-i", "-r", "-w", "--", *command]

    def run(self, command: str, *, check: bool = True, timeout: float = 600) -> str:
        """Run a shell command on the host as its user, with no input; returns its output."""
        done = subprocess.run(
            self.enter("su", "-", USER, "-c", command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {command}: exit status {done.returncode}\n{done.stdout}")
        return done.stdout

    def copy(self, root: Path, files: Sequence[str], to: str) -> None:
        """Copy files and folders of ``root`` to a folder on the host."""
        archive = subprocess.Popen(["tar", "-c", "-C", root, *files], stdout=subprocess.PIPE)
        unpack = f"mkdir -p {to} && tar -x --no-same-owner -C {to}"
        subprocess.run(self.enter("su", "-", USER, "-c", unpack), stdin=archive.stdout, check=True)
        assert archive.wait() == 0

    def processes(self) -> list[str]:
        """Command lines of its user's processes."""
        listing = self.enter("ps", "-u", USER, "-o", "args=")
        return subprocess.run(listing, capture_output=True, text=True).stdout.splitlines()


def why_not() -> str | None:
    """Why there can be no fake hosts here; None if there can."""
    needed = ["/usr/sbin/sshd", "ssh", "ssh-keygen", "rsync", "ip", "unshare", "nsenter", "setpriv", "git"]
    if missing := [program for program in needed if shutil.which(program) is None]:
        return f"needs {', '.join(missing)}: apt-get install openssh-server rsync iproute2 git"
    if subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True
    ).returncode:
        return "needs root and permission to make namespaces"
    return None


@contextmanager
def fake_hosts(
    names: Sequence[str],
    folder: Path,
    *,
    shared: Path,
    venv: Path,
    profile: Mapping[str, str],
    network: str = "10.78.0",
) -> Iterator[dict[str, Host]]:
    """Hosts of these names, ``"laptop"`` first; they end with the block.

    Args:
        names: the hosts' names.
        folder: an empty folder for the rig.
        shared: a folder that all hosts see at :data:`SHARED`.
        venv: an environment that the laptop sees at its own path.
        profile: environment variables of every shell on the hosts, but not on the laptop.
        network: the first three numbers of their addresses.
    """
    python = Path(sys.executable).resolve()
    variables = {"PATH": f"{python.parent}:/usr/bin:/bin", **profile}
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    started: list[subprocess.Popen[bytes]] = []
    hosts: dict[str, Host] = {}
    try:
        for number, name in enumerate(names, start=1):
            mount = folder / name
            mount.mkdir()
            laptop = name == "laptop"
            environment = {
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "NAME": name,
                "MOUNT": str(mount),
                "KEY": str(key),
                "USER_NAME": USER,
                "SHARED": SHARED,
                "SHARED_FROM": str(shared),
                "VENV": str(venv) if laptop else "",
                "PYTHON": str(python),
                "PROFILE": "" if laptop else "\n".join(f"export {k}='{v}'" for k, v in variables.items()),
            }
            with (folder / f"{name}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        [
                            *("setpriv", "--pdeathsig", "KILL"),  # with the tests, however they end
                            *(
                                "unshare",
                                "--net",
                                "--mount",
                                "--pid",
                                "--uts",
                                "--ipc",
                                "--fork",
                                "--kill-child",
                            ),
                            *("bash", "-c", BOOT),
                        ],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )
            hosts[name] = Host(name, f"{network}.{number}", _await_boot(started[-1], folder / f"{name}.log"))
        _connect(list(hosts.values()), network)
        yield hosts
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def _await_boot(unshare: subprocess.Popen[bytes], log: Path) -> int:
    """Process id of a host's first process, once the host has booted."""
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    deadline = time.monotonic() + 30
    while unshare.poll() is None and time.monotonic() < deadline:
        pid = children.read_text().strip()
        if pid and Path(f"/proc/{pid}/root/run/ready").exists():
            return int(pid)
        time.sleep(0.05)
    raise AssertionError(f"a fake host did not boot:\n{log.read_text()}")


def _connect(hosts: Sequence[Host], network: str) -> None:
    """A bridge on the first host, and a cable from there to every other."""
    first = hosts[0]

    def ip(host: Host, arguments: str) -> None:
        subprocess.run(["nsenter", f"--target={host.pid}", "-n", "ip", *arguments.split()], check=True)

    ip(first, "link add bridge0 type bridge")
    for host in hosts:
        device = "bridge0"
        if host is not first:
            device = "eth0"
            ip(first, f"link add {host.name} type veth peer name eth0 netns {host.pid}")
            ip(first, f"link set {host.name} master bridge0 up")
        ip(host, f"address add {host.address}/24 dev {device}")
        ip(host, "link set lo up")
        ip(host, f"link set {device} up")
        ip(
            host,
            f"route add default via {network}.1" if host is not first else "route add default dev bridge0",
        )
