"""Networks are tried as they are to be trained; what does not compute so is refused before the start."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.feedforward import FeedForward
from models.task import Classification
from orchestrator.config import Options, Sweep
from orchestrator.devices import Available
from orchestrator.plan import make_plan

SWEEP = Sweep(
    dataset=("synthetic:1x4x4x3x32",),
    depth=(None,),
    width=(None,),
    n_subnetworks=(1, 2),
    n_coarse_units=(1,),
    batch_size=(8,),
    seed=(0,),
)
WIDTH = 8


def plan_of(name, *, devices="cpu", **changes):
    sweep = replace(SWEEP, network=(f"{__name__}:{name}",), **changes)
    return make_plan(sweep, Options(devices=devices), Available(cpus=8, gpus=3))


class Fixed(nn.Module):
    """Mixes with a matrix that is no buffer, and stays float32 whatever the module becomes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.mixed = nn.Linear(WIDTH, WIDTH), torch.eye(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) @ self.mixed


class Rounded(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


class Between(nn.Module):
    """Has no weights of its own that autocast would take to another type: its input's type counts."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.lerp(x, torch.ones(WIDTH).expand_as(x), 0.1)


class Single(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Narrowed(nn.Linear):
    """Keeps a mean in the type of what it is the mean of."""

    def __init__(self) -> None:
        super().__init__(WIDTH, WIDTH)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.mean = y.detach().mean()
        return y


class InBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ torch.eye(WIDTH)


class Backward(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return InBackward.apply(x)


class Viewed(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y.view(len(y), -1).view(y.shape)


def chain(unit, *, head=nn.Linear, last=nn.Identity, **options):
    def network(*, input_shape, n_classes):
        first = nn.Sequential(nn.Flatten(), nn.Linear(16, WIDTH), nn.LayerNorm(WIDTH), last())
        units = [unit() for _ in range(4)]
        return FeedForward(first, units, head(WIDTH, n_classes), input_shape, **options)

    return network


def linear():
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.LayerNorm(WIDTH))


plain = chain(linear)
fixed, narrowed, backward = chain(Fixed), chain(Narrowed), chain(Backward)
rounded = chain(linear, head=Rounded)
fixed_c = chain(
    linear, interface_preprocess=lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), Fixed())
)
fixed_f = chain(linear, coarse=lambda *_: Fixed())
between = chain(lambda: nn.Sequential(Between(), Single()), last=Single)


def viewed(*, input_shape, n_classes):
    units = [Viewed(1 if i == 0 else WIDTH, WIDTH, 3, padding=1) for i in range(5)]
    return nn.Sequential(
        *units, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, n_classes))
    )


class Weighted(Classification):
    """Weighs classes by numbers of float32."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, weight=torch.ones(3))


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        (
            "fixed",
            {"precision": ("float32", "float64")},
            "unit 0 (Fixed) does not compute with --precision float64: exp",
        ),
        (
            "rounded",
            {"precision": ("float64",)},
            "postprocess (Rounded) .* float64: it returns torch.float32",
        ),
        (
            "backward",
            {"precision": ("float64",)},
            "unit 0 (Backward) does not compute with --precision float64: exp",
        ),
        (
            "fixed_c",
            {"precision": ("float64",)},
            "C^2 (Sequential) does not compute with --precision float64: exp",
        ),
        (
            "fixed_f",
            {"precision": ("float64",)},
            "F^1 (Fixed) does not compute with --precision float64: expected",
        ),
        (
            "between",
            {"precision": ("bfloat16",)},
            "unit 2 (Sequential) does not compute with --precision bfloat16: ",
        ),
        (
            "narrowed",
            {"precision": ("bfloat16",)},
            "unit 0 (Narrowed) does not compute with --precision bfloat16: its mean becomes torch.bfloat16",
        ),
        (
            "viewed",
            {"channels_last": (False, True)},
            "the preprocess (Sequential) does not compute with --channels-last True: view size",
        ),
        (
            "plain",
            {"precision": ("float64",), "task": (f"{__name__}:Weighted",)},
            "Weighted does not compute with",
        ),
    ],
)
def test_what_does_not_compute_as_asked_is_refused_in_a_line(name, asked, message):
    pattern = message.replace("(", r"\(").replace(")", r"\)").replace("^", r"\^")
    with pytest.raises(ValueError, match=pattern) as error:
        plan_of(name, **asked)
    assert len(str(error.value).splitlines()) == 1
    as_usual = {key: values for key, values in asked.items() if key == "task"}
    assert plan_of(name, **as_usual).jobs


@pytest.mark.parametrize("asked", [{"precision": ("float64", "bfloat16")}, {"channels_last": (True,)}])
@pytest.mark.parametrize("strategy", ["parareal", "data_parallel", "gpipe"])
def test_what_computes_as_asked_is_planned(strategy, asked):
    assert plan_of("plain", strategy=(strategy,), **asked).jobs


def test_a_unit_that_no_cut_gives_another_type_is_left_alone():
    assert plan_of("between", precision=("bfloat16",), n_subnetworks=(1,)).jobs


def test_on_a_gpu_other_functions_compute_in_bfloat16_and_nothing_is_said_of_them():
    assert plan_of("between", devices="cuda", precision=("bfloat16",)).jobs
    with pytest.raises(ValueError, match="does not compute with --precision float64"):
        plan_of("between", devices="cuda", precision=("float64",))


threads = set[int]()


class Counting(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        threads.add(torch.get_num_threads())
        return super().forward(x)


def counting(*, input_shape, n_classes):
    units = [Counting(1, 1, 3, padding=1) for _ in range(6)]
    return nn.Sequential(*units, nn.Flatten(), nn.Linear(16, n_classes))


def test_networks_are_tried_with_one_thread():
    torch.set_num_threads(2)
    try:
        assert plan_of("counting").jobs
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert threads == {1}
