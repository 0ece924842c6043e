"""A sweep: several values for every option of a trial."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, cast

from models.tearing import paper_n_coarse_units
from orchestrator.config.option import spelt
from orchestrator.config.own import named
from orchestrator.config.tearing import PIPELINES, TORN
from orchestrator.config.trial import GROUPS, TrialConfig
from orchestrator.data.source import ENCODED

_ONE_FOR_ALL = "milestones"
_FASTEST = ("dataset", "seed", "n_subnetworks")
"""Options that vary fastest, the last one most: their trials stand together."""


def with_several_values(*groups: type) -> type:
    """A dataclass with the options of these groups, each a tuple of values; by default of the one default."""
    several: list[tuple[str, Any, Any]] = [
        (option.name, tuple[option.type, ...], field(default=(option.default,)))  # type: ignore[name-defined]
        if option.name != _ONE_FOR_ALL
        else (option.name, option.type, field(default=option.default))
        for group in groups
        for option in fields(cast(Any, group))
    ]
    names = "And".join(group.__name__ for group in groups)
    return make_dataclass(names, several, bases=groups, frozen=True, kw_only=True)


_Values: Any = with_several_values(*GROUPS)


@dataclass(frozen=True, kw_only=True)
class Sweep(_Values):  # type: ignore[misc]  # the options are declared once, in the groups
    """What to sweep: every option takes one or more values, and each combination is one trial.

    The options are those of :class:`TrialConfig`. A single value may be given as it is, several as a tuple or
    list: ``Sweep(depth=110, n_subnetworks=(1, 3, 6))``. Milestones are one list for all trials. Instead of
    a name as ``module:name`` a network, data set or task may be given itself, also a notebook's.
    """

    def __post_init__(self) -> None:
        """Make tuples of all values."""
        for option in fields(self):
            values = getattr(self, option.name)
            several = tuple(values) if isinstance(values, tuple | list | range) else (values,)
            object.__setattr__(self, option.name, tuple(map(named, several)))

    def but(self, **options: Any) -> "Sweep":
        """The same sweep with other values of some options."""
        return Sweep(**vars(self) | options)

    def trials(self) -> list[TrialConfig]:
        """Every combination once, N and seed varying fastest, without repetitions.

        Raises:
            ValueError: an option without values, or a value out of its range.
        """
        trials = list(dict.fromkeys(TrialConfig(**values) for values in self._combinations()))
        if max(self.n_replicas) > max(trial.n_replicas for trial in trials):
            asked = max(self.n_replicas)
            raise ValueError(
                f"--n-replicas {asked} without --strategy parareal and --n-subnetworks above 1: "
                "nothing else is trained in replicas: give both (workers of data_parallel are N)"
            )
        return trials

    def _combinations(self) -> Iterator[dict[str, Any]]:
        slow = [option.name for option in fields(self) if option.name not in (_ONE_FOR_ALL, *_FASTEST)]
        names = [*slow, *_FASTEST]
        for name in names:
            if not getattr(self, name):
                raise ValueError(f"{spelt(name)}: give at least one value")
        for values in itertools.product(*(getattr(self, name) for name in names)):
            combination = dict(zip(names, values, strict=True)) | {_ONE_FOR_ALL: getattr(self, _ONE_FOR_ALL)}
            yield _without_what_has_no_effect(_with_own_images_as_they_are(combination))


def _with_own_images_as_they_are(options: dict[str, Any]) -> dict[str, Any]:
    """The same options, where a user's images are neither cropped nor mirrored unasked.

    Once they were: the trials of that time have the keys with auto.
    """
    if options["dataset"].partition(":")[0] in ENCODED and options["augment"]:
        asked = {name: options[name] for name in ("random_crop", "random_flip")}
        options |= {name: "off" if value == "auto" else value for name, value in asked.items()}
    return options


def _without_what_has_no_effect(options: dict[str, Any]) -> dict[str, Any]:
    """The same trial's options, those of no effect with one value, so that no trial is run twice."""
    if options["task"] == "regression":
        options["label_smoothing"] = 0.0
    if options["optimizer"] == "sgd":
        options["beta2"] = TrialConfig.beta2
    else:
        options["nesterov"] = False
    n = options["n_subnetworks"]
    if n == 1:
        options["strategy"] = "serial"
    options["n_iterations"] = min(options["n_iterations"], n if options["strategy"] in TORN else 1)
    if options["strategy"] != "parareal":  # N = 1 among them: the baseline of all D
        options["n_replicas"] = min(options["n_replicas"], 1)
    if options["n_replicas"] == 1 and options["strategy"] != "data_parallel":  # no batch is shared out
        options["batch_norm"] = TrialConfig.batch_norm
    if n == 1 or options["strategy"] not in TORN:
        # The network itself has no C^2 and no F^1: one trial, whatever these say.
        options |= {"preprocess": "strided", "coarse": "units", "n_coarse_units": paper_n_coarse_units(1)}
        if options["strategy"] not in PIPELINES:
            options["partition"] = "uniform"  # there are no cuts either
        elif options["partition"] == "staggered":
            options["partition"] = "balanced"  # no coarse network to make room for
    elif options["coarse"] == "shortcut":
        options["n_coarse_units"] = 0
    return options
