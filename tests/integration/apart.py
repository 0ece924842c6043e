"""Actors that do not reach each other's memory, as if each were on a host of its own."""

from orchestrator.actors import links
from orchestrator.actors.actor import Actor
from orchestrator.actors.driver import DriverActor
from orchestrator.actors.subnetwork import SubnetworkActor
from orchestrator.actors.transport import Rendezvous


class DriverApart(DriverActor):
    """A driver whose tensors travel by Gloo."""

    def connect(self, rendezvous: Rendezvous) -> list[str]:
        """Open the links."""
        links.attach = _out_of_reach
        backends = super().connect(rendezvous)
        _check(self)
        return backends


class SubnetworkApart(SubnetworkActor):
    """A subnetwork whose tensors travel by Gloo."""

    def connect(self, rendezvous: Rendezvous) -> None:
        """Open the links."""
        links.attach = _out_of_reach
        super().connect(rendezvous)
        _check(self)


def _out_of_reach(address: str) -> None:
    """What another host answers."""


def _check(actor: Actor) -> None:
    assert {link.backend for link in actor.links()} == {"gloo"}
