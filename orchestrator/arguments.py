"""The command line of a sweep: its options by groups, and what ``--preset`` and ``--network`` start from."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Literal

import tyro

from orchestrator.config import GROUPS, Options, Sweep
from orchestrator.config.sweep import with_several_values
from orchestrator.presets import PRESETS

PROGRAM = "python -m orchestrator.sweep"


@dataclass(frozen=True, kw_only=True)
class _Preset:
    """Tear a deep network into N parallel subnetworks, train it for several N, and compare.

    Without options: a ResNet-110 on 1,797 real images of handwritten digits, N = 1, 2 and 6, three
    seeds each. Run the same command again and only what is missing is done; add values to an option
    and only the new trials are run. Results lie in results/PRESET, as Parquet files for pandas, with
    figure and tables in results/PRESET/report.
    """

    preset: Literal["quickstart", "cifar10", "cifar100", "vgg16", "imagenet", "table2"] = "quickstart"
    """Sweep to start from; the other options override it. cifar10 and cifar100 are the paper's own
    experiments (ResNet-1001, 200 epochs), table2 its measurement of gradient times."""


_GROUPS = {group.__name__.removesuffix("Options").lower(): with_several_values(group) for group in GROUPS}

_Command: Any = make_dataclass(
    "Command",
    [(name, kind, field(kw_only=True)) for name, kind in (_GROUPS | {"run": Options}).items()],
    bases=(_Preset,),
    namespace={"__doc__": _Preset.__doc__},
    frozen=True,
)
"""What is read: a group of options has a heading of its own in ``--help``."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What a command asks.

    Attributes:
        preset: the sweep that it starts from.
        sweep: what to sweep.
        options: how and where to run it.
    """

    preset: str
    sweep: Sweep
    options: Options


def parse(arguments: Sequence[str]) -> Arguments:
    """Read the command line; exits with a message if it cannot be understood."""
    preset_only = argparse.ArgumentParser(PROGRAM, add_help=False, allow_abbrev=False)
    preset_only.add_argument("--preset", default="quickstart", choices=PRESETS)
    preset = preset_only.parse_known_args(arguments)[0].preset
    sweep = PRESETS[preset]
    given = {argument.partition("=")[0] for argument in arguments}
    if "--network" in given:
        # These of a preset are chosen for its own network.
        usual = Sweep()
        sweep = sweep.but(depth=None, width=None, partition=usual.partition, coarse=usual.coarse)
    starts = {
        name: group(**{option.name: getattr(sweep, option.name) for option in fields(group)})
        for name, group in _GROUPS.items()
    }
    read = tyro.cli(
        _Command,
        prog=PROGRAM,
        args=arguments,
        default=_Command(preset=preset, run=Options(), **starts),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
    values = {option: value for name in _GROUPS for option, value in vars(getattr(read, name)).items()}
    return Arguments(preset=read.preset, sweep=Sweep(**values), options=read.run)
