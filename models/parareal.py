"""The parareal neural network f̃ in one process (paper, section 3)."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from models.cost_profile import CostProfile
from models.feedforward import CoarseFactory, FeedForward, PreprocessFactory
from models.tearing import Tearing, plan_tearing


class PararealNetwork(nn.Module):
    """N subnetworks g^j, each behind its own C^j, joined by the coarse network F^j; then h.

        x_j   = C^j(x),  y_j = g^j(x_j)          j = 1 … N      in parallel
        r_j   = y_j − x_{j+1}                    j = 1 … N−1    residual (jump) at interface j
        r̃_1   = r_1,  r̃_{j+1} = r_{j+1} + F^j(r̃_j)              coarse network, one after the other
        f̃(x)  = h(y_N + F^{N−1}(r̃_{N−1}))

    N = 1 is f itself. Modules: ``preprocesses[j-1]``, ``subnetworks[j-1]`` (a Sequential of units),
    ``coarse_network[j-1]``, ``postprocess``.
    """

    def __init__(self, tearing: Tearing) -> None:
        super().__init__()
        n = tearing.n_subnetworks
        self.tearing = tearing
        self.preprocesses = nn.ModuleList(tearing.build_preprocess(j) for j in range(1, n + 1))
        self.subnetworks = nn.ModuleList(tearing.build_subnetwork(j) for j in range(1, n + 1))
        self.coarse_network = nn.ModuleList(tearing.build_coarse(j) for j in range(1, n))
        self.postprocess = tearing.build_postprocess()

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch (batch, *input_shape) to the output of h."""
        y: Tensor | None = None
        residuals = []
        for j, (preprocess, g) in enumerate(zip(self.preprocesses, self.subnetworks, strict=True), start=1):
            self.draw("subnetwork", j)
            x_j = preprocess(x)
            if y is not None:
                residuals.append(y - x_j)  # now, because g^j may overwrite x_j in place
            y = g(x_j)
        correction: Tensor | None = None
        for j, (residual, coarse) in enumerate(zip(residuals, self.coarse_network, strict=True), start=1):
            self.draw("coarse", j)
            correction = coarse(residual if correction is None else residual + correction)
        self.draw("postprocess", 0)
        return cast(Tensor, self.postprocess(y if correction is None else cast(Tensor, y) + correction))

    def draw(self, component: str, j: int) -> None:
        """Called before C^j with g^j ("subnetwork"), F^j ("coarse") and h ("postprocess", j = 0) run.

        Set it to what seeds the generators, as with :func:`models.initialisation.reseed`, where components
        are to draw what they draw in actors; this one lets the generators go on as they do.
        """


def tear(
    network: FeedForward,
    n_subnetworks: int = 1,
    *,
    partition: str | Sequence[int] = "uniform",
    n_coarse_units: int | None = None,
    preprocess: str | PreprocessFactory = "auto",
    coarse: str | CoarseFactory = "units",
    costs: CostProfile | None = None,
    seed: int = 0,
) -> PararealNetwork:
    """Tear ``network`` into ``n_subnetworks`` and build the parareal network in this process.

    The arguments and errors are those of :func:`models.tearing.plan_tearing`.
    """
    return PararealNetwork(
        plan_tearing(
            network,
            n_subnetworks,
            partition=partition,
            n_coarse_units=n_coarse_units,
            preprocess=preprocess,
            coarse=coarse,
            costs=costs,
            seed=seed,
        )
    )
