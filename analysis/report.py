"""The figures and the tables of a result store on disk, and what they were made from.

python -m analysis.report results/quickstart
"""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
import tyro
from rich.console import Console

from analysis.configuration import RUN, config_columns, dataset_name, heading, identify
from analysis.frames import Results, StoreError, load
from analysis.render import text_steps, text_table1, text_table2

MAX_REASON = 300


def write_report(store: str | Path, out: str | Path | None = None) -> list[Path]:
    """Write the figures, the tables and report.md; the same store gives the same bytes.

    Args:
        store: a result store, which may be unfinished or empty.
        out: folder to write into, ``store``/report unless given.

    Returns:
        The files: figure3 and speed_up as .png and .svg, table1, table2 and steps as .csv, .md and
        .tex, report.md.

    Raises:
        StoreError: ``store`` is no result store.
    """
    results = load(store)
    folder = Path(out) if out else results.store / "report"
    folder.mkdir(parents=True, exist_ok=True)

    files: list[Path] = []
    sections = [f"# {results.store.resolve().name}", _progress(results.trials)]
    figures = {
        "figure3": ("Figure 3: Validation error", results.figure3()),
        "speed_up": ("Speed-up over N = 1", results.speed_up()),
    }
    for name, (title, figure) in figures.items():
        sections += [f"## {title}", f"![{title}]({name}.png)"]
        files += [folder / f"{name}.png", folder / f"{name}.svg"]
        figure.savefig(files[-2], dpi=200)
        with matplotlib.rc_context({"svg.hashsalt": name}):
            figure.savefig(files[-1], metadata={"Date": None})
    tables = {
        "table1": (results.table1(), text_table1),
        "table2": (results.table2(), text_table2),
        "steps": (results.steps(), text_steps),
    }
    for name, (table, render) in tables.items():
        text = render(table)
        sections += [f"## {text.name}: {text.title}", text.markdown()]
        contents = {
            "csv": table.to_csv(index=False),
            "md": f"**{text.name}: {text.title}**\n\n{text.markdown()}\n",
            "tex": text.latex(),
        }
        for suffix, content in contents.items():
            files.append(folder / f"{name}.{suffix}")
            files[-1].write_text(content, encoding="utf-8")

    if len(results.trials):
        sections += ["## What was run", _provenance(results.trials)]
    lost = results.trials[~results.trials["status"].isin(["finished", "running"])]
    if len(lost):
        sections += ["## Trials that did not finish", _reasons(lost)]
    files.append(folder / "report.md")
    files[-1].write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return files


def print_tables(results: Results, console: Console) -> None:
    """Print the tables to a terminal."""
    console.print(text_table1(results.table1()).rich(console.width))
    console.print(text_table2(results.table2()).rich(console.width))
    console.print(text_steps(results.steps()).rich(console.width))


def _progress(trials: pd.DataFrame) -> str:
    if trials.empty:
        return "The store is empty: no trial has been started yet."
    counts = trials["status"].value_counts()
    text = f"{len(trials)} trials: " + ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"{text}. The numbers will change." if "running" in counts else f"{text}."


def _provenance(trials: pd.DataFrame) -> str:
    """List the distinct values of everything that was asked for and run with."""
    facts = {
        "First trial started": _time(trials["started"].min()),
        "Last trial finished": _time(trials["finished"].max()),
    }
    known = identify(trials)  # without the values that have no effect at N = 1
    for column in [*RUN, *config_columns(trials)]:
        if column in known:
            values = known[column].dropna().drop_duplicates().sort_values()
            facts[heading(column)] = "; ".join(map(str, values))
    rows = [(name, _cell(value)) for name, value in facts.items() if value]
    return pd.DataFrame(rows, columns=["", "Values"]).to_markdown(index=False, disable_numparse=True)


def _reasons(trials: pd.DataFrame) -> str:
    named = identify(trials)
    rows = {
        "Trial": named["trial_id"],
        "Network": named["label"],
        "Data set": named["dataset"].map(dataset_name),
        "Seed": named["seed"],
        "Status": named["status"],
        "Reason": named["error"].fillna("").map(_reason),
    }
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _reason(error: str) -> str:
    """One line of an error message; a traceback has its message last."""
    if "Traceback" in error:
        error = error.strip().rpartition("\n")[2]
    return _cell(textwrap.shorten(error, MAX_REASON, placeholder=" …")) or "not recorded"


def _cell(text: str) -> str:
    """Escape what would end a cell of a Markdown table."""
    return text.replace("|", r"\|")


def _time(moment: pd.Timestamp) -> str:
    return "" if pd.isna(moment) else f"{moment:%Y-%m-%d %H:%M} UTC"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for a path that is no result store."""

    def report(store: tyro.conf.Positional[Path], *, out: Path | None = None) -> list[Path]:
        """Write the figures, the tables and report.md of a result store.

        Args:
            store: the folder a sweep wrote, such as results/quickstart.
            out: folder to write into; STORE/report unless given.
        """
        return write_report(store, out)

    try:
        files = tyro.cli(report, prog="python -m analysis.report", args=arguments)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 2
    print(*files, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
