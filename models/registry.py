"""Architectures by name; a new one is one file and one line here."""

import inspect
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from models.built import ANY_ERROR, said
from models.feedforward import FeedForward, Shape
from models.imported import imported
from models.initialisation import seeded
from models.mlp import mlp
from models.resnet import resnet
from models.vgg import vgg
from models.vit import vit

NETWORKS: dict[str, Callable[..., FeedForward]] = {
    "resnet": resnet,
    "vgg": vgg,
    "mlp": mlp,
    "vit": vit,
}

OwnFactory = Callable[..., FeedForward | nn.Sequential]


def build_network(
    name: str,
    *,
    input_shape: Shape,
    n_classes: int,
    vocabulary: int | None = None,
    seed: int = 0,
    **options: object,
) -> FeedForward:
    """Describe the network called ``name`` for this input.

    Args:
        name: a key of :data:`NETWORKS`, or ``path.to.module:factory`` for a factory of your own that
            takes ``input_shape`` and ``n_classes`` and returns a :class:`FeedForward` or an
            ``nn.Sequential`` whose first child is C, whose last is h, and whose others are the units.
        input_shape: shape of one sample.
        n_classes: how many numbers it is to return for a sample (or, of tokens, for each place): logits of
            classes or of a vocabulary, or the numbers of a target.
        vocabulary: K where the input is whole numbers 0 … K − 1; told to a factory that takes it.
        seed: seed of the weights of modules that the factory builds itself; those built from
            factories get theirs when they are built (:class:`models.Tearing`).
        **options: passed on to the factory, such as ``depth``.

    Raises:
        ValueError: unknown name, an option that the factory does not take, or one it refuses.
    """
    factory: OwnFactory = NETWORKS[name] if name in NETWORKS else _own(name)
    arguments = {"input_shape": input_shape, "n_classes": n_classes, **options}
    if vocabulary is not None and "vocabulary" in inspect.signature(factory).parameters:
        arguments["vocabulary"] = vocabulary
    _check_arguments(name, factory, arguments)
    try:
        with seeded(seed, "network"):
            network = factory(**arguments)
        if isinstance(network, nn.Sequential):
            short = name.rpartition(":")[2]
            network = FeedForward.from_sequential(network, input_shape=input_shape, name=short)
    except ValueError:
        raise
    except ANY_ERROR as error:
        raise ValueError(
            f"network {name!r} raises {type(error).__name__} ({said(error)}): mend it"
        ) from error
    if not isinstance(network, FeedForward):
        raise ValueError(
            f"network {name!r} returned {type(network).__name__}: return a FeedForward or an nn.Sequential"
        )
    return network if vocabulary is None else replace(network, vocabulary=vocabulary)


def _check_arguments(name: str, factory: OwnFactory, arguments: dict[str, object]) -> None:
    """Raise unless the factory takes all the arguments and needs no other."""
    signature = inspect.signature(factory)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        taken = ", ".join(signature.parameters) or "nothing"
        missing = [key for key in ("input_shape", "n_classes") if key not in signature.parameters]
        refused = [key for key in arguments if key not in signature.parameters]
        if missing:
            remedy = f"a factory is called with input_shape=… and n_classes=…: add {' and '.join(missing)}"
        elif refused:
            remedy = " ".join(f"--{key.replace('_', '-')} None" for key in refused)
            remedy = f"leave {' and '.join(refused)} out with {remedy}"
        else:
            remedy = "give it a default value"
        raise ValueError(f"network {name!r} takes {taken}; {error}: {remedy}") from error


def _own(name: str) -> OwnFactory:
    """The factory at ``path.to.module:factory``."""
    factory = imported("network", name, NETWORKS)
    if isinstance(factory, nn.Module):
        raise ValueError(f"network {name!r} is a module: give a function that builds and returns it")
    if not callable(factory):
        raise ValueError(f"network {name!r} is a {type(factory).__name__}, not a factory")
    return factory
