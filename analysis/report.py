"""The figures and the tables of a result store on disk, and what they were made from.

python -m analysis.report results/quickstart
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
import tyro
from rich.console import Console

from analysis import reproduce, summary
from analysis.command import command, complain
from analysis.curves import error_against_time, figure3
from analysis.frames import Results, StoreError, load
from analysis.page import page
from analysis.reading import UnreadableError
from analysis.render import text_cuts, text_steps, text_table1, text_table2, text_time_to_error
from analysis.speed_up import speed_up
from analysis.time_shares import time_shares
from analysis.worth_it import sentences, trade_off, worth_it

FIGURES = {
    "worth_it": "Is it worth it?",
    "figure3": "Figure 3: Validation error",
    "error_against_time": "Validation error against time",
    "time_shares": "Where the time of a gradient goes",
    "speed_up": "Speed-up over N = 1",
}


class Report:
    """What there is to show of a result store, on a terminal and as files: its tables are computed once."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._table1, self._table2, self._steps = results.table1(), results.table2(), results.steps()
        self._trade_off = trade_off(results.trials, results.epochs, results.timings)
        self._answers = sentences(self._trade_off)
        self._at_chance = summary.at_chance(results.trials, self._table1)
        self._remarks = summary.lost(results.trials, results.epochs, results.timings)
        self._remarks += summary.beyond_n(self._steps)

    def print(self, console: Console) -> None:
        """Print the answer and the tables to a terminal."""
        for answer in self._answers:
            console.print(f"\n{answer}", style="bold", highlight=False, markup=False)
        console.print(text_table1(self._table1).rich(console.width))
        for sentence in [*self._at_chance, *self._remarks]:
            console.print(sentence, highlight=False, markup=False)
        console.print(text_table2(self._table2).rich(console.width))
        console.print(text_steps(self._steps).rich(console.width))

    def write(self, out: str | Path | None = None) -> list[Path]:
        """Write the figures, the tables and both reports; the same store gives the same bytes.

        Args:
            out: folder to write into, that of the store and in it "report" unless given.

        Returns:
            The files: worth_it, figure3, error_against_time, time_shares and speed_up as .png and .svg;
            table1, time_to_error, table2 and steps as .csv, .md and .tex; report.md; report.html, which
            holds all of it.
        """
        results = self._results
        folder = Path(out) if out else results.store / "report"
        folder.mkdir(parents=True, exist_ok=True)
        tables = {
            "table1": (self._table1, text_table1(self._table1)),
            "time_to_error": (times := results.time_to_error(), text_time_to_error(times)),
            "table2": (self._table2, text_table2(self._table2)),
            "steps": (self._steps, text_steps(self._steps)),
        }
        charts = {
            "worth_it": worth_it(self._trade_off),
            "figure3": figure3(results.trials, results.epochs),
            "error_against_time": error_against_time(results.trials, results.epochs),
            "time_shares": time_shares(self._table2),
            "speed_up": speed_up(self._steps),
        }

        files: list[Path] = []
        sections = [f"# {results.store.resolve().name}", *self._answers, *self._at_chance]
        for name, chart in charts.items():
            sections += [f"## {FIGURES[name]}", f"![{FIGURES[name]}]({name}.png)"]
            if name == "worth_it":
                sections += [chart.note, summary.progress(results.trials), *summary.data_sets(results.trials)]
                sections += self._remarks
            files += [folder / f"{name}.png", folder / f"{name}.svg"]
            figure = chart.figure()
            figure.savefig(files[-2], dpi=200)
            figure.set_layout_engine("none")  # it is laid out by now
            with matplotlib.rc_context({"svg.hashsalt": name}):
                figure.savefig(files[-1], metadata={"Date": None})
        for name, (table, text) in tables.items():
            sections += [f"## {text.name}: {text.title}", text.markdown()]
            contents = {
                "csv": table.to_csv(index=False),
                "md": f"**{text.name}: {text.title}**\n\n{text.markdown()}\n",
                "tex": text.latex(),
            }
            for suffix, content in contents.items():
                files.append(folder / f"{name}.{suffix}")
                files[-1].write_text(content, encoding="utf-8")

        if not (cuts := text_cuts(results.trials)).cells.empty:
            sections += [f"## {cuts.name}: {cuts.title}", cuts.markdown()]
        if len(results.trials):
            facts = summary.headlines(results.trials) | summary.provenance(results.trials)
            sections += ["## What was run", _markdown(pd.DataFrame(facts.items(), columns=["", "Values"]))]
        if len(unfinished := summary.unfinished(results.trials)):
            sections += ["## Trials that did not finish", _markdown(unfinished)]
        if commands := reproduce.commands(results.trials, results.timings):
            sections += ["## To reproduce", reproduce.origin(results.trials)]
            sections += [f"```sh\n{command}\n```" for command in commands[: reproduce.MOST_SHOWN]]
            if len(commands) > reproduce.MOST_SHOWN:
                sections.append(f"These are {reproduce.MOST_SHOWN} of {len(commands):,} commands.")
        texts = {name: text for name, (_, text) in tables.items()} | {"cuts": cuts}
        remarks = [*self._at_chance, *self._remarks]
        html = page(results, self._answers, charts, texts, remarks=remarks, commands=commands)
        for name, content in {"report.md": "\n\n".join(sections) + "\n", "report.html": html}.items():
            files.append(folder / name)
            files[-1].write_text(content, encoding="utf-8")
        return files


def write_report(store: str | Path, out: str | Path | None = None) -> list[Path]:
    """Write the report of a result store, which may be unfinished or empty: see `Report.write`.

    Raises:
        StoreError: ``store`` is no result store.
    """
    return Report(load(store)).write(out)


def _markdown(table: pd.DataFrame) -> str:
    """A table of text, with what would end a cell escaped."""
    cells = table.map(lambda text: text.replace("|", r"\|"))
    return cells.to_markdown(index=False, disable_numparse=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for a path that is no result store or out of reach."""

    def report(store: tyro.conf.Positional[Path], *, out: Path | None = None) -> list[Path]:
        """Write the figures, the tables and the reports of a result store.

        Args:
            store: the folder a sweep wrote, such as results/quickstart.
            out: folder to write into; STORE/report unless given.
        """
        return write_report(store, out)

    try:
        files = tyro.cli(report, prog="python -m analysis.report", args=arguments)
    except (StoreError, UnreadableError) as error:
        complain(error)
        return 2
    except OSError as error:
        complain(
            f"{error.filename or 'the report'} cannot be written ({error.strerror}): give --out a "
            "folder that may be written and has room"
        )
        return 2
    print(*files, sep="\n")
    return 0


if __name__ == "__main__":
    command(main)
