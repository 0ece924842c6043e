"""Runs parareal networks on Ray: actors, trials, sweeps and their result store."""

import importlib
import importlib.util
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.config import Options, Sweep
    from orchestrator.running import SweepError, dry_run, run
    from orchestrator.trained import load_network

__all__ = ["Options", "Sweep", "SweepError", "dry_run", "load_network", "run"]

_HOMES = {
    "Options": "config",
    "Sweep": "config",
    "SweepError": "running",
    "dry_run": "running",
    "load_network": "trained",
    "run": "running",
}


def __getattr__(name: str) -> Any:
    """What a script or notebook needs, imported when it is: some of it takes seconds."""
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def _refuse_what_hides_ours() -> None:
    """See that ``models`` and ``analysis`` are this project's.

    Raises:
        ImportError: a file or folder of the user's, whose current folder comes first, has such a name too.
    """
    for name in ("models", "analysis"):
        found = importlib.util.find_spec(name)
        places = [found.origin, *(found.submodule_search_locations or [])] if found else []
        ours = Path(__file__).parents[1] / name
        if not any(place and Path(place).resolve() == ours.resolve() for place in places):
            raise ImportError(f"{next(filter(None, places), name)} hides this project's {name}: rename it")


if sys.argv[:1] == ["-m"]:  # `python -m` is about to load one of our commands, which takes seconds
    try:
        _refuse_what_hides_ours()
    except ImportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until then, an interruption is no traceback
else:
    _refuse_what_hides_ours()
