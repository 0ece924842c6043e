"""Tables 1 and 2 of the paper from a result store, with the published values beside.

Both are tidy frames of plain numbers; `analysis.render` prints them.
"""

from dataclasses import asdict
from typing import Literal

import numpy as np
import pandas as pd

from analysis import published
from analysis.configuration import identify, one_row_each
from analysis.measure import Measure

EpochChoice = Literal["last", "best"]

CONFIDENCE = 0.95

UNTIMED = (
    *("initial", "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "warmup", "milestones"),
    *("momentum", "nesterov", "beta2", "weight_decay", "decay", "clip_norm"),
    *("augment", "random_crop", "random_flip", "train_subset", "validation_subset", "strategy"),
    *("label_column", "validation_split", "validation_fraction", "n_replicas", "batch_norm"),
)
"""Config values without effect on the time of one gradient (timings have their own batch size)."""

PARALLEL = ("preprocess", "subnetwork")
"""Components that all subnetworks compute at the same time; the others run one after another."""

COMPONENTS = {
    "preprocess": "preprocessing",
    "subnetwork": "parallel_subnetworks",
    "coarse_network": "coarse_network",
    "postprocess": "postprocessing",
}
"""Component in the store -> column of Table 2."""


def table1(trials: pd.DataFrame, epochs: pd.DataFrame, *, epoch: EpochChoice = "last") -> pd.DataFrame:
    """Table 1: validation error rates (%), or other metrics, one row per configuration.

    Only finished trials enter the mean; the others are counted in one column per status. Trials
    of the same configuration and seed count as one seed.

    Args:
        trials: frame of the store.
        epochs: frame of the store.
        epoch: the error of the last epoch, or of the best one. The best is chosen on the very
            images that measure it, so it is biased towards small errors.

    Returns:
        Columns: dataset, network, depth, label, n_subnetworks, n_coarse_units, every other config
        value that varies, error (mean over seeds, of what metric, unit and better say), std (ddof = 1),
        n (seeds), metric, unit, better, published, difference (to
        N = 1 of the otherwise same configuration, in points), ci_low, ci_high (Welch's 95 %
        interval of the difference, where both sides have two seeds), test_error and test_std (of the test
        split, after the last epoch), then the number of trials
        that are running, diverged, failed.
    """
    runs = identify(trials[trials["epochs"] != 0])  # 0: only timed, not trained
    finished = runs[runs["status"] == "finished"]
    errors = _final_errors(trials, epochs, epoch).reindex(finished["trial_id"])
    finished = finished.assign(value=errors.to_numpy())
    per_seed = finished.groupby(["configuration", "seed"], dropna=False)["value"].mean().dropna()
    by_configuration = per_seed.groupby("configuration")
    samples = {key: values.to_numpy() for key, values in by_configuration}

    rows, columns = one_row_each(runs)
    serial = rows[~rows["torn"]].reset_index().set_index("family")["configuration"]
    table = rows[columns].assign(
        error=by_configuration.mean(),
        std=by_configuration.std(),
        n=by_configuration.size().reindex(rows.index, fill_value=0),
        **{column: rows.get(column, default) for column, default in asdict(Measure()).items()},
    )
    if "test_error" in runs:
        tested = finished.assign(test_error=finished["test_error"].astype(float))
        seeds = tested.groupby(["configuration", "seed"], dropna=False)["test_error"].mean().dropna()
        table["test_error"] = seeds.groupby("configuration").mean()
        table["test_std"] = seeds.groupby("configuration").std()
    else:  # of a store written before there was one
        table[["test_error", "test_std"]] = np.nan
    paper = published.published_table1().set_index(["dataset", "n_subnetworks"])["error"]
    here = rows[["dataset", "n_subnetworks"]].join(paper, on=["dataset", "n_subnetworks"])["error"]
    table["published"] = here.where(published.is_paper_network(rows) & published.is_whole_dataset(rows))
    table[["difference", "ci_low", "ci_high"]] = np.nan
    against = rows.loc[rows["torn"], "family"].map(serial)
    pairs = [(key, one) for key, one in against.items() if key in samples and one in samples]
    compared = [_welch(samples[key], samples[one]) for key, one in pairs]
    if compared:
        table.loc[[key for key, _ in pairs], ["difference", "ci_low", "ci_high"]] = compared
    for status in dict.fromkeys(["running", "diverged", "failed", *runs["status"]]):
        if status != "finished":
            table[status] = (runs["status"] == status).groupby(runs["configuration"]).sum()
    return table.reset_index(drop=True)


def table2(trials: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """Table 2: virtual wall-clock time (s) of one gradient, one row per network and device.

    In each repeat the parallel parts (preprocessing, subnetworks) count as their maximum over
    j, the coarse network as its sum, forward and backward together; in every iteration anew. Every
    time is the median over the repeats, so that ``total`` need not be the sum of its row.

    Returns:
        Columns: dataset, network, depth, label, n_subnetworks, n_coarse_units, every other config
        value that varies, device, batch_size, preprocessing, parallel_subnetworks, coarse_network,
        postprocessing, total, total_low and total_high (quartiles), total_iqr (interquartile range),
        repeats, speed_up (of the median total over N = 1 on the same device), and published_<each
        time> and published_speed_up (on the paper's device; see `analysis.published`).
    """
    timings = timings[timings["mode"] == "virtual"]
    runs = identify(trials[trials["trial_id"].isin(timings["trial_id"].unique())], ignore=UNTIMED)
    rows, columns = one_row_each(runs, ignore=UNTIMED)
    seconds = component_seconds(trials, timings).reset_index()
    seconds = seconds.merge(runs[["trial_id", "configuration"]], on="trial_id")
    repeats = seconds.drop(columns=["trial_id", "repeat"]).groupby(["configuration", "device", "batch_size"])
    times = repeats.median()
    times["total_low"], times["total_high"] = (repeats["total"].quantile(q) for q in (0.25, 0.75))
    times["total_iqr"] = times["total_high"] - times["total_low"]
    times["repeats"] = repeats.size()
    times = times.reset_index(["device", "batch_size"])
    table = rows.drop(columns="batch_size").join(times, how="inner").reset_index(drop=True)

    where = ["family", "device", "batch_size"]
    serial = table[table["n_subnetworks"] == 1].set_index(where)["total"].rename("serial")
    table["speed_up"] = table.join(serial, on=where)["serial"] / table["total"]

    comparable = published.is_paper_network(table) & published.is_paper_input(table)
    paper = published.published_table2().drop(columns="source").set_index("n_subnetworks")
    paper = paper.add_prefix("published_")
    beside = table[["n_subnetworks"]].where(comparable).join(paper, on="n_subnetworks")
    return pd.concat([table[[*columns, *times.columns, "speed_up"]], beside[paper.columns]], axis="columns")


def component_seconds(trials: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """Seconds of one gradient in each repeat, forward and backward together.

    Args:
        trials: frame of the store.
        timings: virtual ones.

    Returns:
        Indexed by trial_id, device, batch_size, repeat: the columns of `COMPONENTS`, the parallel
        ones as the maximum over j, of several iterations the sum of their maxima, and their sum, ``total``.
    """
    sample = ["trial_id", "device", "batch_size", "repeat", "component"]
    in_each = _in_each_iteration(trials, timings)
    both_ways = (
        in_each.groupby([*sample, "iteration", "subnetwork"])["seconds"].sum().groupby([*sample, "iteration"])
    )
    together, in_turn = both_ways.max(), both_ways.sum()
    parallel = in_turn.index.get_level_values("component").isin(PARALLEL)
    iterated = in_turn.mask(parallel, together).groupby(sample).sum()
    seconds = iterated.unstack("component")  # noqa: PD010 - no frame to pivot
    seconds = seconds.reindex(columns=list(COMPONENTS)).rename(columns=COMPONENTS)
    return seconds.assign(total=seconds.sum(axis="columns"))


def _in_each_iteration(trials: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """The timings as often as a step runs what was timed, with the column ``iteration``.

    Of K iterations, iteration k runs g^k … g^{N − K + k} and, between these, F^k … F^{N − K + k − 1}.
    """
    sizes = trials.set_index("trial_id")[["n_subnetworks", "n_iterations"]]
    n, k = (timings["trial_id"].map(sizes[column]).fillna(1).astype(int) for column in sizes)
    runs_often = timings["component"].isin(["subnetwork", "coarse_network"])
    k = k.where(runs_often, 1)
    n = n - timings["component"].eq("coarse_network")  # as many F^j as there are cuts
    j = timings["subnetwork"].astype(int)
    first = (j - n + k).clip(lower=1).where(k > 1, 1)
    last = j.clip(upper=k).where(k > 1, 1)
    number = (last - first + 1).clip(lower=0)
    repeated = timings.assign(first=first).loc[timings.index.repeat(number)]
    return repeated.assign(iteration=repeated["first"] + repeated.groupby(level=0).cumcount())


def _final_errors(trials: pd.DataFrame, epochs: pd.DataFrame, epoch: EpochChoice) -> pd.Series:
    """Validation error by trial_id."""
    if epoch == "best":
        by_trial = epochs.groupby("trial_id")["validation_error"]
        if "better" not in trials:
            return by_trial.min()
        higher = trials.set_index("trial_id")["better"].reindex(by_trial.size().index) == "higher"
        return by_trial.min().mask(higher, by_trial.max())
    ordered = epochs.sort_values("epoch").drop_duplicates("trial_id", keep="last")
    return ordered.set_index("trial_id")["validation_error"]


def _welch(sample: np.ndarray, baseline: np.ndarray) -> tuple[float, float, float]:
    """Difference of the means and Welch's confidence interval, NaN where it has none."""
    difference = float(sample.mean() - baseline.mean())
    if min(len(sample), len(baseline)) < 2 or (np.ptp(sample) == 0 and np.ptp(baseline) == 0):
        return difference, np.nan, np.nan
    from scipy.special import stdtrit  # takes a second to load: only where there are seeds to compare

    sizes = len(sample), len(baseline)
    of_means = np.array([np.var(s, ddof=1) / n for s, n in zip((sample, baseline), sizes, strict=True)])
    freedom = of_means.sum() ** 2 / (of_means**2 / (np.array(sizes) - 1)).sum()
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(of_means.sum()))
    return difference, difference - half, difference + half
