"""Actors in processes that have held others before: starting one anew, with torch, takes seconds."""

import gc
from types import SimpleNamespace
from typing import Any

import ray
from torch import distributed as dist

from orchestrator.actors import liveness


class Pool:
    """Ray as gangs use it, but that an actor gets a process that is there already, where there is one.

    An actor that a gang kills leaves its process to the next. No place in a placement group is kept.
    """

    def __init__(self) -> None:
        self.idle: list[Any] = []
        self.node = ""

    def __getattr__(self, name: str) -> Any:
        """Everything else is Ray's own."""
        return getattr(ray, name)

    def remote(self, actor: type) -> Any:
        """What starts an actor of this class, whatever it reserves."""

        if self.node != (node := ray.get_runtime_context().get_node_id()):
            self.idle, self.node = [], node  # another Ray since

        def start(*args: Any, **options: Any) -> _Handle:
            process = self.idle.pop() if self.idle else _Process.remote()
            process.enter.remote(actor, *args, **options)
            return _Handle(process)

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def kill(self, actor: "_Handle") -> None:
        """Have the process forget the actor."""
        ray.get(actor.process.leave.remote(), timeout=30)
        self.idle.append(actor.process)


class _Handle:
    """Of an actor in a process of the pool."""

    def __init__(self, process: Any) -> None:
        self.process = process

    def __getattr__(self, name: str) -> Any:
        """A method of the actor's."""
        return SimpleNamespace(remote=lambda *args: self.process.call.remote(name, *args))


@ray.remote(num_cpus=0.1)
class _Process:
    def __init__(self) -> None:
        self.ends: list[Any] = []
        liveness.atexit = SimpleNamespace(register=self.ends.append)  # of its signs of life
        gc.freeze()  # nothing that is there already goes with an actor

    def enter(self, actor: type, *args: Any, **options: Any) -> None:
        self.actor = actor(*args, **options)

    def call(self, name: str, *args: Any) -> Any:
        return getattr(self.actor, name)(*args)

    def leave(self) -> None:
        while self.ends:
            self.ends.pop()()
        del self.actor
        if dist.is_initialized():
            dist.destroy_process_group()
        gc.collect()
