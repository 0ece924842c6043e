"""What watches a sweep from Ray Tune's side."""

from collections.abc import Callable
from typing import Any

from ray.tune import Callback

from orchestrator.reason import reason

EVENTS = [name for name in vars(Callback) if name == "setup" or name.startswith("on_")]
"""What Tune tells its callbacks."""


class Observer(Callback):
    """A Tune callback that Tune need not restore.

    Tune pickles its callbacks to restore them; terminals, open files and connections cannot be
    pickled, and a sweep that goes on makes them anew.
    """

    def __reduce__(self) -> tuple[type[Callback], tuple[()]]:
        return Callback, ()


class Harmless(Observer):
    """Hands everything on to an observer; what goes wrong there is said, and ends nothing.

    Args:
        observer: one that only shows.
        say: told in a line what has gone wrong, once if it does so again and again.
    """

    def __init__(self, observer: Callback, say: Callable[[str], object]) -> None:
        self._name = type(observer).__name__
        self._say = say
        self._said: set[str] = set()
        for event in EVENTS:
            setattr(self, event, self._guarded(getattr(observer, event)))

    def _guarded(self, tell: Callable[..., None]) -> Callable[..., None]:
        def guarded(*args: Any, **info: Any) -> None:
            try:
                tell(*args, **info)
            except Exception as error:  # noqa: BLE001 - whatever it is, trials must not end by it
                said = f"{self._name} has missed something ({reason(error)}): the sweep goes on"
                if said not in self._said:
                    self._said.add(said)
                    self._say(said)

        return guarded
