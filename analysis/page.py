"""The report as one HTML page, which needs no network, no script and no other file.

The page forbids itself every request (its Content-Security-Policy), so that nothing that a user has
called a trial or a data set can become one.
"""

from collections.abc import Mapping, Sequence

from analysis import reproduce, summary
from analysis.chart import Chart
from analysis.frames import Results
from analysis.markup import draw, fill
from analysis.text_table import TextTable


def page(
    results: Results,
    answers: Sequence[str],
    charts: Mapping[str, Chart],
    tables: Mapping[str, TextTable],
    *,
    remarks: Sequence[str],
    commands: Sequence[str],
) -> str:
    """Return the page.

    Args:
        results: the store.
        answers: sentences that the page leads with.
        charts: worth_it, figure3, error_against_time, time_shares and speed_up.
        tables: table1, cuts, time_to_error, table2 and steps.
        remarks: what is to be said of Table 1.
        commands: that run the trials again.
    """
    timed = results.timings.loc[results.timings["mode"] == "virtual", "device"]
    return fill(
        "report.html",
        store=results.store.resolve().name,
        answers=answers,
        progress=summary.progress(results.trials),
        data_sets=summary.data_sets(results.trials),
        headlines=summary.headlines(results.trials),
        timed_on=", ".join(sorted(timed.dropna().unique())),
        provenance=summary.provenance(results.trials),
        charts={name: draw(name, chart) for name, chart in charts.items()},
        tables=tables,
        remarks=remarks,
        unfinished=summary.unfinished(results.trials),
        commands=commands,
        most_commands=reproduce.MOST_SHOWN,
        origin=reproduce.origin(results.trials),
    )
