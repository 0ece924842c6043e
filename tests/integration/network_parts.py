"""What networks of the battery are made of."""

from collections.abc import Callable

from torch import Tensor, nn

from models import FeedForward

W = 4  # channels


class Do(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Around(nn.Module):
    """Something done to what a module returns, with the module at hand."""

    def __init__(self, module: nn.Module, function: Callable[["Around", Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(n_in: int = W, n_out: int = W) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def block() -> nn.Module:
    return nn.Sequential(conv(), nn.BatchNorm2d(W), nn.ReLU())


def head(n: int = 10) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(W, n))


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


def parts(
    *units: nn.Module | Callable[[], nn.Module],
    c: nn.Module | Callable[[], nn.Module] = lambda: conv(1),
    h: nn.Module | Callable[[], nn.Module] = head,
    **options: object,
) -> FeedForward:
    """The units given, after which as many blocks follow as make 6."""
    return FeedForward(c, [*units, *[block] * (6 - len(units))], h, (1, 8, 8), **options)


def everywhere(make: Callable[[], nn.Module], **options: object) -> FeedForward:
    """The same kind of unit in all three subnetworks, at their beginnings and ends."""
    return parts(*[make] * 6, **options)


def at_the_cuts(around: Callable[[nn.Module], nn.Module]) -> FeedForward:
    """C^j and F^j of this kind."""
    return parts(
        interface_preprocess=lambda before, after: around(conv(before[0], after[0])),
        coarse=lambda before, after, n: around(conv()),
    )
