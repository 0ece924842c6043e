"""Does any damaged or hostile file crash a reader, run code, or give a wrong number?

    python -m benchmarks.fuzz --seconds 3600                    each reader for so long, one after the other
    python -m benchmarks.fuzz --seconds 60 --reader checkpoints

Each input is a file that the project wrote itself, changed at random: bits, bytes and stretches of it,
numbers in text, stretches of its sister files, its end cut off. The reader must end in an error that it
declares, or, where there are checksums, return what the whole file holds. What it does meanwhile is
audited: no code run, no process, no connection. Each reader runs in a process of its own, so that a crash
is seen; the number of an input, by which it is made, is on disk before it is read.
"""

import argparse
import codecs
import faulthandler
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.fuzz_readers import READERS, damaged

FORBIDDEN = {
    *("exec", "import", "pickle.find_class", "marshal.loads", "code.__new__"),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"),
    *("socket.connect", "socket.bind", "ctypes.dlopen", "urllib.Request"),
}
"""Python's audit events that no content of a file may cause, once its reader has been used.

Not "compile": numpy has the headers of arrays parsed, as literals, of which nothing is run.
"""

NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"null", b'""', b"[]", b"{}", b"true", b"9" * 40, b"[" * 100_000)
"""What takes the place of a number or a word in text."""

LIMIT = 60
"""Seconds from which on an input counts as one that hangs its reader."""


def changed(whole: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A file's content, changed in one to four ways."""
    content = bytearray(whole)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 4])):
        chance.choice(CHANGES)(content, others, chance)
    return bytes(content)


def _place(content: bytearray, chance: random.Random) -> tuple[int, int]:
    """A stretch, short as a rule, and as often as not where headers and footers are."""
    n = len(content)
    start = chance.randrange(n + 1)
    if chance.random() < 0.5:
        start = chance.choice([min(start, 64), max(0, n - 1 - min(start, 1024))])
    return start, min(n, start + chance.choice([1, 2, 4, 8, chance.randrange(1, n + 2)]))


def _flip(content: bytearray, _: list[bytes], chance: random.Random) -> None:
    start, stop = _place(content, chance)
    for place in range(start, min(stop, start + 1)):
        content[place] ^= 1 << chance.randrange(8)


def _set(content: bytearray, _: list[bytes], chance: random.Random) -> None:
    start, stop = _place(content, chance)
    kind = chance.randrange(4)
    content[start:stop] = chance.randbytes(stop - start) if kind > 1 else bytes([255 * kind]) * (stop - start)


def _remove(content: bytearray, _: list[bytes], chance: random.Random) -> None:
    start, stop = _place(content, chance)
    del content[start:stop]


def _repeat(content: bytearray, _: list[bytes], chance: random.Random) -> None:
    start, stop = _place(content, chance)
    content[start:start] = content[start:stop] * chance.choice([1, 1, 3])


def _splice(content: bytearray, others: list[bytes], chance: random.Random) -> None:
    start, stop = _place(content, chance)
    other = bytearray(chance.choice(others))
    first, last = _place(other, chance)
    content[start:stop] = other[first:last]


def _cut(content: bytearray, _: list[bytes], chance: random.Random) -> None:
    del content[_place(content, chance)[0] :]


def _line(content: bytearray, _: list[bytes], chance: random.Random) -> None:
    """Remove, repeat or move a line."""
    lines = content.splitlines(keepends=True)
    if lines:
        line = lines.pop(chance.randrange(len(lines)))
        for _time in range(chance.randrange(3)):
            lines.insert(chance.randrange(len(lines) + 1), line)
        content[:] = b"".join(lines)


def _word(content: bytearray, _: list[bytes], chance: random.Random) -> None:
    """Put something else in the place of a number or word."""
    start = chance.randrange(len(content) + 1)
    if found := re.compile(rb"[-+.\w]+").search(content, start, start + 200):
        new = chance.choice([*NUMBERS, found[0][:-1], found[0] + b"0", found[0].swapcase()])
        content[found.start() : found.end()] = new


CHANGES: list[Callable[[bytearray, list[bytes], random.Random], None]] = [
    *(_flip, _flip, _set, _remove, _repeat, _splice, _cut, _line, _word),
]


def run(name: str, seconds: float, first: int, progress: Path, *, most: int | None = None) -> list[str]:
    """Try inputs on a reader, from number ``first`` on; returns a text for each kind of finding."""
    with tempfile.TemporaryDirectory() as folder:
        reader = READERS[name](Path(folder))
        whole = {file: file.read_bytes() for file in reader.files}
        right = repr(reader.read())
        for encoding in ("utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le"):
            codecs.lookup(encoding)  # imported when JSON looks like it
        events: list[str] = []
        watching = False

        def audit(event: str, _: tuple[object, ...]) -> None:
            if watching and event in FORBIDDEN:
                events.append(event + "".join(traceback.format_stack(limit=8)))

        sys.addaudithook(audit)
        findings: dict[str, str] = {}
        counts = {"inputs": 0, "refused": 0, "same": 0, "other": 0}
        end, number = time.monotonic() + seconds, first
        while time.monotonic() < end and (most is None or number < first + most):
            progress.write_text(json.dumps({"number": number, **counts}))
            for number in range(number, number + 20):  # noqa: B020 - goes on from where it was
                chance = random.Random(f"{name} {number}")
                file = chance.choice(reader.files)
                content = changed(whole[file], list(whole.values()), chance)
                found, watching = "", number - first > 200  # by then all that it needs is imported
                faulthandler.dump_traceback_later(LIMIT, exit=True)
                counts["inputs"] += 1
                try:
                    with damaged(file, content, whole[file]):
                        read = repr(reader.read())
                except reader.declared:
                    counts["refused"] += 1
                except Exception:  # noqa: BLE001 - what is looked for
                    found = traceback.format_exc()
                else:
                    counts["same" if read == right else "other"] += 1
                    if reader.exact and read != right:
                        found = f"another content:\n{read[:2000]}\ninstead of\n{right[:2000]}"
                watching = False
                faulthandler.cancel_dump_traceback_later()
                if events:
                    found, events[:] = f"code was run: {events[0]}", []
                place = re.sub(r"\d+", "", found.strip().rpartition("\n")[2][:60]) if found else ""
                if found and place not in findings and len(findings) < 20:
                    findings[place] = f"{name}, input {number}, {file.name}:\n{found}"
                    progress.with_name(f"{name}-{number}.{file.name}").write_bytes(content)
                    progress.with_name(f"{name}-{number}.txt").write_text(findings[place])
            number += 1
        progress.write_text(json.dumps({"number": number, **counts}))
        if repr(reader.read()) != right:
            findings["whole"] = f"{name}: the whole files are no longer read as they were"
    return list(findings.values())


def _in_processes(name: str, seconds: float, first: int, folder: Path) -> None:
    """Try a reader for so long, again from the next input where its process has died; prints a line."""
    begin, totals, crashes = time.monotonic(), {"inputs": 0, "refused": 0, "same": 0, "other": 0}, 0
    findings = 0
    while (left := begin + seconds - time.monotonic()) > 0:
        progress = folder / f"{name}.json"
        progress.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--child", name, "--seconds", str(left)]
        ended = subprocess.run(
            [*command, "--first", str(first), "--out", str(folder)], capture_output=True, text=True
        )
        done = json.loads(progress.read_text()) if progress.exists() else {"number": first, "inputs": 0}
        totals = {key: n + done.get(key, 0) for key, n in totals.items()}
        first = done["number"] + 20
        if ended.returncode not in (0, 1) or not progress.exists():
            crashes += 1
            text = f"exit status {ended.returncode} near input {done['number']}\n{ended.stderr[-4000:]}"
            (folder / f"{name}-{done['number']}-crash.txt").write_text(text)
            if not progress.exists():
                print(text)
                break
        else:
            findings += int(ended.stdout.strip().rpartition("\n")[2] or 0)
    row = [name, *totals.values(), crashes, findings, round(time.monotonic() - begin)]
    print(f"| {' | '.join(map(str, row))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each reader")
    parser.add_argument("--reader", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--out", type=Path, default=Path("results/fuzz"), help="folder of what is found")
    parser.add_argument("--child", choices=READERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.child:
        found = run(asked.child, asked.seconds, asked.first, asked.out / f"{asked.child}.json")
        print(len(found))
        sys.exit(bool(found))
    shutil.rmtree(asked.out)
    asked.out.mkdir()
    print("| reader | inputs | refused | same content | other content | crashes | findings | seconds |")
    print("|:--|--:|--:|--:|--:|--:|--:|--:|")
    for name in asked.reader:
        _in_processes(name, asked.seconds, asked.first, asked.out)


if __name__ == "__main__":
    main()
