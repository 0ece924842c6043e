"""Architectures by name; a new one is one file and one line here."""

import importlib
import inspect
from collections.abc import Callable

from models.feedforward import FeedForward, Shape
from models.resnet import resnet

NETWORKS: dict[str, Callable[..., FeedForward]] = {"resnet": resnet}


def build_network(name: str, *, input_shape: Shape, n_classes: int, **options: object) -> FeedForward:
    """Describe the network called ``name`` for this input.

    Args:
        name: a key of :data:`NETWORKS`, or ``path.to.module:factory`` for a factory of your own that
            takes ``input_shape`` and ``n_classes`` and returns a :class:`FeedForward`.
        input_shape: shape of one sample.
        n_classes: number of logits.
        **options: passed on to the factory, such as ``depth``.

    Raises:
        ValueError: unknown name, an option that the factory does not take, or one it refuses.
    """
    factory = NETWORKS[name] if name in NETWORKS else _import(name)
    taken = inspect.signature(factory).parameters
    unknown = [option for option in options if option not in taken]
    if unknown:
        raise ValueError(
            f"network {name!r} takes no {unknown[0]!r} (it takes {', '.join(taken)}): "
            f"leave out --{unknown[0].replace('_', '-')}"
        )
    return factory(input_shape=input_shape, n_classes=n_classes, **options)


def _import(name: str) -> Callable[..., FeedForward]:
    """The factory at ``path.to.module:factory``."""
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(
            f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}, "
            "or name your own as path.to.module:factory"
        )
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"network {name!r} cannot be imported ({error}): "
            "the module must be importable from the folder where the command runs"
        ) from error
    if not callable(factory):
        raise ValueError(f"network {name!r} is a {type(factory).__name__}, not a factory")
    return factory  # type: ignore[no-any-return]
