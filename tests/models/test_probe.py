"""What components do with samples, before anything is trained."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.probe import Probe, samples_of

IMAGES = samples_of((3, 4, 4))


class Do(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Raw(nn.Module):
    """Overwrites what it reads behind autograd's back."""

    def forward(self, x: Tensor) -> Tensor:
        x.data.zero_()
        return x + 1


def test_samples_are_the_same_everywhere_and_draw_no_number() -> None:
    before = torch.get_rng_state()
    assert torch.equal(samples_of((3, 4, 4)), IMAGES)
    assert torch.equal(torch.get_rng_state(), before)
    assert samples_of((5,), 3).shape == (3, 5)
    assert 0 <= IMAGES.min() < IMAGES.max() < 1


@pytest.mark.parametrize(
    ("module", "overwrites"),
    [
        (nn.Conv2d(3, 2, 1), False),
        (nn.ReLU(), False),
        (nn.ReLU(inplace=True), True),  # the numbers stay, as all are positive
        (Do(lambda x: x.sub_(x.mean()) * 1), True),
        (Raw(), True),
        (nn.Sequential(nn.Dropout(inplace=True), nn.Flatten()), True),
        (nn.Identity(), True),
        (nn.Flatten(), True),
        (Do(lambda x: x[:, :1].expand(-1, 7, -1, -1)), True),
        (Do(lambda x: x + 0), False),
    ],
)
def test_who_spoils_what_others_read(module: nn.Module, overwrites: bool) -> None:
    before = IMAGES.clone()
    assert Probe(module, "C").overwrites(IMAGES) is overwrites
    assert torch.equal(IMAGES, before)


def test_trying_a_component_out_leaves_the_generators_and_the_given_module_alone() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
    before = torch.get_rng_state()
    probe = Probe(module, "unit 0")
    assert probe.try_out(IMAGES).shape == IMAGES.shape
    assert probe.trained(IMAGES) == ["0.weight", "0.bias"]
    assert probe.trained(IMAGES, always=True) == []  # what draws may leave some out another time
    assert torch.equal(torch.get_rng_state(), before)
    assert module[0].num_batches_tracked == 0
    assert module[0].weight.grad is None


def test_parameters_that_get_no_gradient_are_told_apart() -> None:
    class Some(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.used.bias.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    probe = Probe(Some, "unit 0")
    assert probe.trainable == ["used.weight", "unused.weight", "unused.bias"]
    with torch.no_grad():
        assert probe.trained(IMAGES) == ["used.weight"]
        assert probe.passes_back(IMAGES)
        assert not Probe(lambda: Do(torch.Tensor.detach), "h").passes_back(IMAGES)
        assert not Probe(lambda: Do(torch.zeros_like), "h").passes_back(IMAGES)


def test_two_gradients_add_up_unless_they_are_changed_by_their_size() -> None:
    def clipped(rule: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
        def make() -> nn.Module:
            module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
            module[0].weight.register_hook(rule)
            return module

        return make

    for rule in (lambda g: g.clamp(-1, 1), lambda g: g / (1 + g.norm()), torch.sign):
        assert not Probe(clipped(rule), "C^2").adds_up(IMAGES)
    for rule in (lambda g: g * 0.1, lambda g: -g, torch.zeros_like):
        assert Probe(clipped(rule), "C^2").adds_up(IMAGES)


@pytest.mark.parametrize("state", [3, "word", torch.ones(2), {"a": [1.0, None]}])
def test_extra_state_that_a_checkpoint_can_hold_is_accepted(state: object) -> None:
    class Extra(nn.Identity):
        def get_extra_state(self) -> object:
            return state

    Probe(Extra, "unit 0").check_state()
    with pytest.raises(ValueError, match=r"C\^2 \(Extra\) keeps extra state, which its copy"):
        Probe(Extra, "C^2").check_state(replicated=True)
