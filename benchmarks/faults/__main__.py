"""Strikes running sweeps with faults at random, then compares every number with undisturbed ones.

    python -m benchmarks.faults --kills 1000 --folder results/faults

Each sweep is the real command on a disk of its own, hit by one fault after the other at random moments; a
command that ends early is repeated at once, as a user would. What is compared are all columns of trials and
epochs but for times, memory and versions. A fault's time is the longest without a finished epoch, from the
fault to the first epoch that is finished after its end. Results are on disk after every sweep: run it again
to go on up to ``--kills``, remove the folder to begin anew. It runs at low priority, beside other work.
"""

import argparse
import os
import time
from pathlib import Path

import pandas as pd

from benchmarks.faults.rounds import FAULTS, one_round

NICE = 10


def table(struck: pd.DataFrame, sweeps: pd.DataFrame) -> str:
    """Outcomes by kind of fault; what became of a sweep counts for each kind that has struck it."""
    became = sweeps.set_index("sweep")
    became["hung"] = became["hung"].notna() & became["hung"].ne("")
    rows = {fault: _outcome(of, became) for fault, of in struck.groupby("fault")}
    rows["all"] = _outcome(struck, became)
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = "fault"
    formats = [".1f" if str(name).endswith("(s)") else ".0f" for name in frame]
    return str(frame.to_markdown(floatfmt=("", *formats)))


def _outcome(struck: pd.DataFrame, became: pd.DataFrame) -> dict[str, float]:
    of_sweeps = became.loc[struck["sweep"].unique()]
    return {
        "n": len(struck),
        **{column: of_sweeps[column].sum() for column in ("lost", "wrong", "left over", "hung")},
        "median (s)": struck["seconds"].median(),
        "worst (s)": struck["seconds"].max(),
        **{column: struck[column].max() for column in ("lines", "pages")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=50, help="faults in all, those of earlier runs included")
    parser.add_argument(
        "--folder", type=Path, default=Path("results/faults"), help="where the results are kept"
    )
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no sweep after this time")
    parser.add_argument("--each", type=int, default=25, help="faults of one sweep at most")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), help="kinds of faults")
    asked = parser.parse_args()
    os.nice(NICE)
    asked.folder.mkdir(parents=True, exist_ok=True)
    files = asked.folder / "faults.csv", asked.folder / "sweeps.csv"
    frames = [pd.read_csv(file) if file.exists() else pd.DataFrame() for file in files]
    end = time.monotonic() + 60 * asked.minutes
    while (left := asked.kills - len(frames[0])) > 0 and time.monotonic() < end:
        struck, outcome = one_round(
            asked.folder.absolute(), len(frames[1]), asked.only, min(left, asked.each)
        )
        new = pd.DataFrame(struck), pd.DataFrame([outcome])
        frames = [pd.concat([old, more]) for old, more in zip(frames, new, strict=True)]
        for frame, file in zip(frames, files, strict=True):
            frame.to_csv(file, index=False)
    print(table(*frames))
    print(f"\n{len(frames[1])} sweeps:", frames[1]["of"].value_counts().to_dict())


if __name__ == "__main__":
    main()
