"""Networks of every kind that users have: for each, actors must train what one process does.

Every one is a factory, as ``--network tests.integration.networks:equal_NAME`` takes it, for images (1, 8, 8).
"""

import threading
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

from models import FeedForward
from models.coarse import repeat

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


# Frozen, or without parameters


def plain() -> FeedForward:
    return parts()


def frozen_at_first() -> FeedForward:
    return parts(frozen(block()), frozen(block()), c=frozen(conv(1)))


def frozen_at_last() -> FeedForward:
    return parts(block, block, block, block, frozen(block()), frozen(block()), h=frozen(head()))


def frozen_in_between() -> FeedForward:
    return parts(block, block, frozen(block()), frozen(block()))


def frozen_trunk() -> FeedForward:
    return parts(*(frozen(block()) for _ in range(6)), c=frozen(conv(1)))


def frozen_all_but_the_cuts() -> FeedForward:
    return parts(*(frozen(block()) for _ in range(6)), c=frozen(conv(1)), h=frozen(head()))


def frozen_at_the_cuts() -> FeedForward:
    return at_the_cuts(frozen)


def frozen_in_part() -> FeedForward:
    def unit() -> nn.Module:
        module = block()
        frozen(module[0])
        return module

    return everywhere(unit)


def parameter_free_at_first() -> FeedForward:
    return parts(nn.ReLU, partial(nn.AvgPool2d, 3, 1, 1), c=Do(lambda x: x.expand(-1, W, -1, -1)))


def parameter_free_units() -> FeedForward:
    return everywhere(nn.Tanh)


def parameter_free_at_the_cuts() -> FeedForward:
    return parts(
        interface_preprocess=lambda before, after: Do(lambda x: x.expand(-1, W, -1, -1)),
        coarse=lambda before, after, n: nn.AvgPool2d(3, 1, 1),
    )


def parameter_free_head() -> FeedForward:
    return parts(
        *[block] * 5, partial(conv, W, 10), h=partial(nn.Sequential, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )


def identity_head() -> FeedForward:
    return parts(*[block] * 5, head, h=nn.Identity)


def without_gradient() -> FeedForward:
    """A unit that runs its convolution under no_grad, as frozen feature extractors do."""

    def no_grad(self: Around, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.module(x)

    units = [Around(conv(), no_grad) for _ in range(2)]
    return parts(block, block, units[0], block, block, units[1])


def unused() -> FeedForward:
    class Unit(nn.Module):
        def __init__(self, n_in: int = W) -> None:
            super().__init__()
            self.never, self.conv, self.nor_this = nn.Linear(2, 2), conv(n_in), nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    return everywhere(
        Unit,
        h=lambda: Around(nn.ModuleList([head(), head()]), lambda self, x: self.module[1](x)),
        interface_preprocess=lambda before, after: Unit(1),
        coarse=lambda before, after, n: Unit(),
    )


def unused_behind_a_cut_gradient() -> FeedForward:
    detached = Do(torch.Tensor.detach)
    return parts(
        *[lambda: nn.Sequential(detached, block())] * 6,
        interface_preprocess=lambda before, after: Around(
            nn.ModuleList([conv(1), conv(1)]), lambda self, x: self.module[0](x)
        ),
    )


# In place


def in_place_units() -> FeedForward:
    return everywhere(lambda: nn.Sequential(nn.ReLU(True), conv(), nn.ReLU(True), nn.BatchNorm2d(W)))


def in_place_at_the_cuts() -> FeedForward:
    def centred(module: nn.Module) -> nn.Module:
        return nn.Sequential(Do(lambda x: x.sub_(x.mean())), module)

    network = at_the_cuts(centred)
    return parts(
        c=lambda: centred(conv(1)), interface_preprocess=network.interface_preprocess, coarse=network.coarse
    )


def in_place_unseen() -> FeedForward:
    def halved(x: Tensor) -> Tensor:
        x.data.mul_(0.5)
        return x

    return at_the_cuts(lambda module: nn.Sequential(Do(halved), module))


def in_place_in_training_alone() -> FeedForward:
    return parts(c=lambda: nn.Sequential(nn.Dropout(0.3, inplace=True), conv(1)))


def in_place_on_the_image() -> FeedForward:
    """C returns what it reads, and the first unit overwrites it; C^j reads it through a view."""
    return parts(
        lambda: nn.Sequential(Do(lambda x: x.mul_(2)), conv(1)),
        c=nn.Identity,
        interface_preprocess=lambda before, after: Do(lambda x: x.expand(-1, W, -1, -1)),
    )


def in_place_head() -> FeedForward:
    return parts(h=lambda: nn.Sequential(nn.ReLU(True), head()))


# Random numbers


def dropout_in_units() -> FeedForward:
    return everywhere(lambda: nn.Sequential(conv(), nn.Dropout2d(0.3), nn.ReLU(), nn.Dropout(0.2)))


def dropout_at_the_cuts() -> FeedForward:
    return at_the_cuts(lambda module: nn.Sequential(nn.Dropout(0.3), module, nn.Dropout(0.3)))


def dropout_everywhere() -> FeedForward:
    network = at_the_cuts(lambda module: nn.Sequential(nn.Dropout(0.3), module, nn.Dropout(0.3)))
    return parts(
        *[lambda: nn.Sequential(block(), nn.Dropout(0.2))] * 6,
        c=lambda: nn.Sequential(conv(1), nn.Dropout(0.2)),
        h=lambda: nn.Sequential(nn.Dropout(0.2), head()),
        interface_preprocess=network.interface_preprocess,
        coarse=network.coarse,
    )


def noise_in_evaluation_too() -> FeedForward:
    def noisy(module: nn.Module) -> nn.Module:
        return nn.Sequential(module, Do(lambda x: x + 0.1 * torch.randn_like(x)))

    network = at_the_cuts(noisy)
    return parts(
        lambda: noisy(block()),
        interface_preprocess=network.interface_preprocess,
        coarse=network.coarse,
    )


def stochastic_depth() -> FeedForward:
    def skip(self: Around, x: Tensor) -> Tensor:
        return x + self.module(x) if not self.training or torch.rand(()) < 0.5 else x + 0

    return parts(
        *[lambda: Around(block(), skip)] * 6,
        interface_preprocess=lambda before, after: nn.Sequential(conv(1), Around(conv(), skip)),
        coarse=lambda before, after, n: nn.Sequential(conv(), Around(conv(), skip)),
    )


# State


class Buffers(nn.Module):
    """Of all types; with a counter that the result depends on."""

    def __init__(self, n_in: int = W) -> None:
        super().__init__()
        self.conv = conv(n_in)
        self.register_buffer("mask", torch.tensor([True, False, True, True]).view(1, W, 1, 1))
        self.register_buffer("order", torch.tensor([2, 0, 1, 3]))
        self.register_buffer("small", torch.full((W, 1, 1), 0.3, dtype=torch.float16))
        self.register_buffer("bytes", torch.arange(W, dtype=torch.uint8).view(W, 1, 1))
        self.register_buffer("large", torch.tensor(2**40 + 1))
        self.register_buffer("count", torch.zeros((), dtype=torch.int32))
        self.register_buffer("mean", torch.zeros(()), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)[:, self.order] * self.mask * (self.small + self.bytes)
        if self.training:
            self.count += 1
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean())
        return x / (1 + 0.1 * self.count) - self.mean + (self.large - 2**40)


def buffers() -> FeedForward:
    return everywhere(
        Buffers,
        interface_preprocess=lambda before, after: Buffers(1),
        coarse=lambda before, after, n: Buffers(),
    )


def state_of_its_own() -> FeedForward:
    """Kept in plain attributes, in training and in evaluation."""

    def averaged(self: Around, x: Tensor) -> Tensor:
        y = self.module(x)
        self.kept = 0.5 * getattr(self, "kept", 0.0) + 0.5 * y.detach().mean()
        return y - self.kept

    return parts(
        *[lambda: Around(block(), averaged)] * 6,
        interface_preprocess=lambda before, after: Around(conv(1), averaged),
    )


def norms() -> FeedForward:
    kinds = [
        partial(nn.BatchNorm2d, W, momentum=None),
        partial(nn.BatchNorm2d, W, affine=False),
        partial(nn.BatchNorm2d, W, track_running_stats=False),
        partial(nn.GroupNorm, 2, W),
        partial(nn.InstanceNorm2d, W, affine=True, track_running_stats=True),
        partial(nn.LayerNorm, (W, 8, 8)),
    ]
    return parts(
        *(lambda kind=kind: nn.Sequential(conv(), kind(), nn.ReLU()) for kind in kinds),
        interface_preprocess=lambda before, after: nn.Sequential(conv(1), nn.BatchNorm2d(W, momentum=None)),
        coarse=lambda before, after, n: nn.Sequential(conv(), nn.BatchNorm2d(W, affine=False)),
    )


# What changes a module's parameters


def parametrised() -> nn.Module:
    units = [
        parametrizations.weight_norm(conv()),
        parametrizations.spectral_norm(conv()),
        parametrizations.spectral_norm(parametrizations.weight_norm(conv())),
        parametrizations.orthogonal(nn.Linear(8, 8)),  # of each row of the image
    ]
    units = [nn.Sequential(unit, nn.ReLU()) for unit in units]
    return nn.Sequential(parametrizations.weight_norm(conv(1)), *units, block(), block(), head())


def parametrised_in_factories() -> FeedForward:
    return everywhere(
        lambda: nn.Sequential(parametrizations.spectral_norm(conv()), nn.ReLU()),
        interface_preprocess=lambda before, after: parametrizations.spectral_norm(conv(1)),
        coarse=lambda before, after, n: parametrizations.weight_norm(conv()),
    )


def pruned() -> nn.Module:
    units = [conv() for _ in range(6)]
    for unit in units:
        prune.random_unstructured(unit, "weight", 0.3)
    return nn.Sequential(conv(1), *units, head())


def older_norms_of_weights() -> nn.Module:
    units = [
        weight_norm(conv()),
        spectral_norm(conv()),
        weight_norm(conv()),
        spectral_norm(conv()),
        conv(),
        conv(),
    ]
    return nn.Sequential(weight_norm(conv(1)), *units, head())


def tied_within_a_unit() -> FeedForward:
    def twice() -> nn.Module:
        module = conv()
        return nn.Sequential(module, nn.ReLU(), module)

    return everywhere(twice)


# Hooks, checkpoints, modes


def hooks() -> nn.Module:
    units = [block() for _ in range(6)]
    for unit in units:
        unit.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 1.5,))
        unit.register_forward_hook(lambda module, inputs, output: output + 0.1)
        unit.register_full_backward_hook(lambda module, grad_in, grad_out: (grad_in[0] * 0.5,))
    return nn.Sequential(conv(1), *units, head())


def hooks_of_parameters() -> FeedForward:
    def masked() -> nn.Module:
        module = conv()
        module.weight.register_hook(lambda gradient: gradient * (torch.arange(9).view(3, 3) % 2))
        return module

    return everywhere(masked, coarse=lambda before, after, n: masked())


def checkpointed(reentrant: bool) -> FeedForward:
    def unit(module: nn.Module) -> nn.Module:
        return Around(module, lambda self, x: checkpoint(self.module, x, use_reentrant=reentrant))

    def make() -> nn.Module:
        return unit(nn.Sequential(conv(), nn.BatchNorm2d(W), nn.Dropout(0.2), nn.ReLU()))

    return everywhere(
        make,
        interface_preprocess=lambda before, after: nn.Sequential(conv(1), unit(conv())),
        coarse=lambda before, after, n: unit(conv()),
    )


def other_in_training() -> FeedForward:
    return everywhere(
        lambda: Around(conv(), lambda self, x: self.module(x) * (0.5 if self.training else 2.0))
    )


# What is returned


def more_outputs_than_classes() -> FeedForward:
    return parts(h=partial(head, 17))


def scattered_in_memory() -> FeedForward:
    return parts(
        *[
            lambda: nn.Sequential(
                conv(), Do(lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))
            ),
            lambda: nn.Sequential(conv(W, 1), Do(lambda x: x.expand(-1, W, -1, -1))),
            lambda: nn.Sequential(conv(), Do(lambda x: x.transpose(2, 3))),
            lambda: nn.Sequential(conv(), Do(lambda x: x[:, :, ::1, :].flip(2))),
        ]
    )


def norm_of_one_value() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(W))


def one_value() -> FeedForward:
    """In BatchNorm; refused where a pass has one image alone."""
    return parts(
        *[partial(conv)] * 5,
        norm_of_one_value,
        coarse=lambda before, after, n: norm_of_one_value() if after[1] == 1 else conv(),
    )


def complex_within() -> FeedForward:
    return everywhere(
        lambda: nn.Sequential(conv(), Do(lambda x: torch.fft.ifft2(torch.fft.fft2(x).mul(0.5 + 0.1j)).real))
    )


def tokens() -> FeedForward:
    class Recurrent(nn.GRU):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[0]

    attention = partial(nn.TransformerEncoderLayer, 8, 2, 16, batch_first=True)
    return FeedForward(
        partial(nn.Sequential, nn.Flatten(1, 2), nn.Linear(8, 8)),
        [attention, partial(Recurrent, 8, 8, batch_first=True), attention] * 2,
        partial(nn.Sequential, nn.Flatten(), nn.Linear(64, 10)),
        (1, 8, 8),
        interface_preprocess=lambda before, after: nn.Sequential(nn.Flatten(1, 2), attention()),
        coarse=repeat(attention),
    )


class ClassToken(nn.Module):
    """Rows as tokens, one more before them: a number of tokens that no patches have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.token = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.linear(x.flatten(1, 2))
        return torch.cat([self.token.expand(len(rows), 1, 8), rows], dim=1)


def class_token() -> nn.Module:
    """No C^j follows from the shapes."""
    blocks = (nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True) for _ in range(6))
    return nn.Sequential(
        ClassToken(), *blocks, nn.Sequential(Do(lambda x: x[:, 0]), nn.Dropout(), nn.Linear(8, 10))
    )


def volumes() -> FeedForward:
    """Neither C^j nor F^j follows from the shapes, there are too many dimensions."""

    def conv() -> nn.Module:
        return nn.Sequential(nn.Conv3d(2, 2, 3, padding=1), nn.BatchNorm3d(2), nn.ReLU())

    return FeedForward(
        lambda: nn.Sequential(nn.Unflatten(2, (2, 4)), nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2)),
        [conv, nn.Identity, conv, conv, nn.Dropout, conv],
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 10)),
        (1, 8, 8),
    )


EQUAL: dict[str, Callable[[], FeedForward | nn.Module]] = {
    made.__name__: made
    for made in (
        *(class_token, volumes),
        *(plain, frozen_at_first, frozen_at_last, frozen_in_between, frozen_trunk, frozen_all_but_the_cuts),
        *(frozen_at_the_cuts, frozen_in_part, parameter_free_at_first, parameter_free_units),
        *(parameter_free_at_the_cuts, parameter_free_head, identity_head, without_gradient, unused),
        *(unused_behind_a_cut_gradient, in_place_units, in_place_at_the_cuts, in_place_unseen),
        *(in_place_in_training_alone, in_place_on_the_image, in_place_head, dropout_in_units),
        *(dropout_at_the_cuts, dropout_everywhere, noise_in_evaluation_too, stochastic_depth, buffers),
        *(state_of_its_own, norms, parametrised, parametrised_in_factories, pruned, older_norms_of_weights),
        *(tied_within_a_unit, hooks, hooks_of_parameters, other_in_training, more_outputs_than_classes),
        *(scattered_in_memory, complex_within, tokens, one_value),
    )
} | {
    "checkpointed": partial(checkpointed, reentrant=False),
    "checkpointed_with_reentry": partial(checkpointed, reentrant=True),
}
"""What is trained."""


# What the plan refuses


class Raised(nn.Conv2d):
    """With state that is neither parameter nor buffer."""

    def __init__(self, state: object, n_in: int = W) -> None:
        super().__init__(n_in, W, 1)
        self.state = state

    def get_extra_state(self) -> object:
        return self.state

    def set_extra_state(self, state: object) -> None:
        self.state = state


def saved(join: Callable[[Tensor, Tensor], Tensor], *, detach: bool = False) -> nn.Module:
    """A skip connection from one unit to another, by a hook and a closure."""
    kept: dict[str, Tensor] = {}
    encoder = block()
    encoder.register_forward_hook(
        lambda module, inputs, output: kept.__setitem__("a", output.detach() if detach else output)
    )
    decoder = Do(lambda x: join(x, kept["a"]))
    return nn.Sequential(conv(1), encoder, block(), block(), block(), decoder, block(), head())


_kept: dict[str, Tensor] = {}


def kept_in_a_module() -> nn.Module:
    def keep(x: Tensor) -> Tensor:
        _kept["a"] = x
        return x * 1

    return nn.Sequential(
        conv(1), Do(keep), block(), block(), block(), Do(lambda x: x + _kept["a"]), block(), head()
    )


def same_module() -> FeedForward:
    module = block()
    return parts(*[module] * 6)


def same_from_a_factory() -> FeedForward:
    module = block()
    return parts(*[lambda: module] * 6)


def hooked_parameter() -> nn.Module:
    module = conv()
    module.weight.register_hook(lambda gradient: gradient * 0)
    return nn.Sequential(conv(1), module, block(), block(), block(), head())


def clipped(module: nn.Module) -> nn.Module:
    module.weight.register_hook(lambda gradient: gradient.clamp(-1, 1))
    return module


def locked() -> nn.Module:
    module = block()
    module.lock = threading.Lock()
    return nn.Sequential(conv(1), module, block(), block(), head())


def in_training(function: Callable[[Tensor], object]) -> Callable[[], nn.Module]:
    return lambda: Around(
        conv(), lambda self, x: function(self.module(x)) if self.training else self.module(x)
    )


def at_a_cut(module: Callable[[], nn.Module]) -> FeedForward:
    return parts(interface_preprocess=lambda before, after: module())


def as_coarse(module: Callable[[], nn.Module]) -> FeedForward:
    return parts(coarse=lambda before, after, n: module())


def with_lock() -> FeedForward:
    lock = threading.Lock()
    return parts(lambda: nn.Sequential(conv(), Do(lambda x: x if lock.locked() else x + 0)))


def lock_at_a_cut() -> FeedForward:
    lock = threading.Lock()
    return at_a_cut(lambda: conv(1 + lock.locked()))


detached = partial(Do, torch.Tensor.detach)
REFUSED: dict[str, tuple[Callable[[], FeedForward | nn.Module], str]] = {
    "skip": (partial(saved, torch.add), "unit 4 .* depends on more than the sample"),
    "skip_by_cat": (
        partial(saved, lambda x, a: torch.cat([x, a], 1)[:, 2:6]),
        "unit 4 .* depends on more than the sample",
    ),
    "skip_detached": (partial(saved, torch.add, detach=True), "unit 4 .* depends on more than the sample"),
    "skip_in_a_module": (kept_in_a_module, "unit 4 .* depends on more than the sample"),
    "order_of_the_batch": (
        lambda: parts(lambda: Do(lambda x: x.cumsum(0))),
        "unit 0 .* or on its place in the batch",
    ),
    "same_module": (same_module, "unit 0 and unit 1 share a parameter"),
    "same_from_a_factory": (same_from_a_factory, "unit 0 and unit 1 share a parameter"),
    "hooked_parameter": (hooked_parameter, "unit 0 has a hook on its parameter weight"),
    "complex_weights": (
        lambda: parts(lambda: nn.Sequential(conv(), nn.Linear(8, 8, dtype=torch.complex64))),
        "unit 0 .* holds complex numbers",
    ),
    "complex_activations": (lambda: parts(lambda: Do(torch.fft.fft2)), "returns torch.complex64"),
    "whole_numbers": (lambda: parts(lambda: Do(torch.Tensor.long)), "returns torch.int64 for torch.float32"),
    "extra_state": (
        lambda: parts(partial(Raised, threading.Event)),
        "unit 0 .* keeps extra state that is no",
    ),
    "extra_state_at_a_cut": (
        lambda: at_a_cut(partial(Raised, 3, 1)),
        r"C\^2 \(Raised\) keeps extra state, which its copy at the cut cannot have",
    ),
    "tuple_in_training": (
        lambda: parts(in_training(lambda y: (y, y))),
        "unit 0 .* returns tuple in training",
    ),
    "shape_in_training": (
        lambda: parts(in_training(lambda y: y[:, :2])),
        r"unit 0 .* returns shape \(4, 8, 8\), but \(2, 8, 8\) in training",
    ),
    "squeezed": (
        lambda: parts(*[block] * 5, lambda: nn.Sequential(head(), Do(torch.squeeze)), h=nn.Identity),
        r"unit 5 .* turns a batch of 1 into shape \(10,\)",
    ),
    "one_output": (lambda: parts(h=partial(head, 1)), r"returns shape \(1,\) for a sample, .* 10 classes"),
    "dense": (lambda: parts(h=partial(conv, W, 10)), r"returns shape \(10, 8, 8\) for a sample"),
    "clipped_at_a_cut": (lambda: at_a_cut(lambda: clipped(conv(1))), r"C\^2 .* that is not linear"),
    "broadcast_at_a_cut": (lambda: at_a_cut(nn.Identity), r"C\^2 .* returns shape \(1, 8, 8\) .* is needed"),
    "broadcast_coarse": (
        lambda: as_coarse(partial(nn.AdaptiveAvgPool2d, 1)),
        r"F\^1 .* returns shape \(4, 1, 1\)",
    ),
    "coarse_without_gradient": (lambda: as_coarse(detached), r"F\^1 .* passes no gradient back"),
    "head_without_gradient": (
        lambda: parts(h=lambda: nn.Sequential(detached(), head())),
        "the postprocess .* passes no gradient back",
    ),
    "lock": (locked, "unit 0 .* cannot be copied: cannot pickle '_thread.lock'"),
    "lock_at_a_cut": (lock_at_a_cut, r"the factory of C\^j cannot be sent to another process"),
    "lock_in_a_factory": (
        with_lock,
        "unit 0 cannot be sent to another process: cannot pickle '_thread.lock'",
    ),
}
"""What the plan refuses, and how."""


def __getattr__(name: str) -> Callable[..., FeedForward | nn.Module]:
    """Each network by its name, called as a sweep calls it."""
    kind, _, name = name.partition("_")
    if kind == "equal":
        made = EQUAL[name]
    elif kind == "refused":
        made = REFUSED[name][0]
    else:
        raise AttributeError(name)

    def network(*, input_shape: tuple[int, ...], n_classes: int) -> FeedForward | nn.Module:
        return made()

    return network
