"""The commands that run the trials of a store again."""

import shlex
from collections.abc import Iterable, Iterator

import pandas as pd

from analysis.configuration import config_columns, device_kinds, identify
from analysis.published import COARSE_COVERAGE

PROGRAM = "python -m orchestrator.sweep"
DERIVED = ("partition_sizes",)
"""Config columns that follow from the others, for which there is no option."""
OPTIONAL = (
    *("depth", "width", "train_subset", "validation_subset", "label_column", "validation_split"),
    *("validation_fraction", "image_size", "clip_norm", "initial"),
)
"""Options to which None may be given."""
ONE_LIST = ("milestones",)
"""Options that take one list for all trials of a command."""
NEW_STORE = "results/reproduced"
MOST_SHOWN = 10
"""Commands in the report."""
MOST_COMPARED = 100
"""Commands up to which each is compared with each, in search of fewer: nobody reads more."""

Values = tuple[str, ...] | None
Box = dict[str, Values]
"""Values of every option: a command runs each combination. None: the option has no effect."""


def commands(trials: pd.DataFrame, timings: pd.DataFrame) -> list[str]:
    """Commands that together run exactly the trials of a store, as few as simple merging finds.

    Every option that decides a result is spelt out, so that they hold whatever a later version's
    defaults are. Values are quoted for a POSIX shell.

    Args:
        trials: frame of the store.
        timings: frame of the store; tells how often components were timed.
    """
    if trials.empty:
        return []
    boxes = _equal_merged(list(_boxes(trials)))
    if len(boxes) <= MOST_COMPARED:
        boxes = _merged(boxes)
    kinds = set(device_kinds(trials).dropna())
    repeats = timings.loc[timings["mode"] == "virtual", "repeat"].max()
    how: Box = {
        "devices": tuple(kinds) if len(kinds) == 1 else None,
        "timing_repeats": ("0" if pd.isna(repeats) else str(repeats + 1),),
        "store": (NEW_STORE,),
    }
    return [_command(box | how) for box in boxes]


def origin(trials: pd.DataFrame) -> str:
    """The checkout that the commands belong to, in a sentence; empty where it is not known."""
    commits = sorted(set(trials["commit"].dropna()) - {""})
    if not commits:
        return ""
    text = f"Run at commit {' and '.join(commits)} of the project."
    return text + " Files differed from a commit with a +." * any("+" in commit for commit in commits)


def _boxes(trials: pd.DataFrame) -> Iterator[Box]:
    """The options of each trial, each of one value."""
    runs = identify(trials)
    options = [column for column in config_columns(trials) if column not in DERIVED]
    for run in runs[options].drop_duplicates().to_dict("records"):
        box: Box = {}
        for column, value in run.items():
            option = str(column)
            if pd.isna(value):
                box[option] = ("None",) if option in OPTIONAL else None
            elif option in ONE_LIST:
                box[option] = tuple(value.split())
            elif option == "n_coarse_units" and value == -(-COARSE_COVERAGE // run["n_subnetworks"]):
                box[option] = ("None",)  # the paper's, which differs by N
            else:
                box[option] = (str(value),)
        if box["coarse"] == ("shortcut",):
            box["n_coarse_units"] = None
        yield box


def _compatible(one: Values, other: Values) -> bool:
    return one is None or other is None or one == other


def _in_turn(box: Box) -> list[str]:
    """The options in the order in which boxes are united by them.

    N comes last: N = 1, for which most options have no effect, then joins what is united already.
    """
    last = ["seed", "n_subnetworks"]
    return [*(o for o in box if o not in {*last, *ONE_LIST}), *last]


def _united(values: Iterable[Values]) -> Values:
    """All values of one option, the short ones first."""
    there = {text for one in values for text in one or ()}
    return tuple(sorted(there, key=lambda text: (len(text), text))) or None


def _equal_merged(boxes: list[Box]) -> list[Box]:
    """Unite boxes that differ in the values of one option alone, all others being equal."""
    differ = [
        option for option in _in_turn(boxes[0]) if any(box[option] != boxes[0][option] for box in boxes)
    ]
    differ_too = [o for o in ONE_LIST if any(box[o] != boxes[0][o] for box in boxes)]
    for option in differ:
        alike: dict[tuple[Values, ...], list[Box]] = {}
        for box in boxes:
            alike.setdefault(tuple(box[o] for o in (*differ, *differ_too) if o != option), []).append(box)
        boxes = [same[0] | {option: _united(box[option] for box in same)} for same in alike.values()]
    return boxes


def _merged(boxes: list[Box]) -> list[Box]:
    """The same, where others may be without effect in one of two boxes."""
    for option in _in_turn(boxes[0]):
        united: list[Box] = []
        for box in boxes:
            for other in united:
                if all(_compatible(box[o], other[o]) for o in box if o != option):
                    values = _united([other[option], box[option]])
                    other |= {o: other[o] or box[o] for o in box}
                    other[option] = values
                    break
            else:
                united.append(dict(box))
        boxes = united
    return boxes


def _command(box: Box) -> str:
    """One option a line."""
    options = [
        " ".join(["--" + name.replace("_", "-"), *map(shlex.quote, values)])
        for name, values in box.items()
        if values is not None
    ]
    return " \\\n    ".join([PROGRAM, *options])
