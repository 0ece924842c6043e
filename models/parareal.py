"""The parareal neural network f̃ in one process (paper, section 3)."""

from collections.abc import Iterator, Sequence
from typing import cast

from torch import Tensor, nn

from models.compute import Compute
from models.cost_profile import CostProfile
from models.feedforward import CoarseFactory, FeedForward, PreprocessFactory
from models.iterations import passes_of, repeated, windows
from models.tearing import Tearing, plan_tearing


class PararealNetwork(nn.Module):
    """N subnetworks g^j, each behind its own C^j, joined by the coarse network F^j; then h.

        x_j   = C^j(x),  y_j = g^j(x_j)          j = 1 … N      in parallel
        r_j   = y_j − x_{j+1}                    j = 1 … N−1    residual (jump) at interface j
        r̃_1   = r_1,  r̃_{j+1} = r_{j+1} + F^j(r̃_j)              coarse network, one after the other
        f̃(x)  = h(y_N + F^{N−1}(r̃_{N−1}))

    N = 1 is f itself. That is one iteration. Of several (``n_iterations``), each but the last ends with
    x_{j+1} = y_j + F^{j−1}(r̃_{j−1}), from which the next begins. Iteration k has j = k … N − K + k and no
    correction at its first j, which reads what it would read in f: K = N is f, whatever C^j and F^j are.

    Modules: ``preprocesses[j-1]``, ``subnetworks[j-1]`` (a Sequential of units), ``coarse_network[j-1]``,
    ``postprocess``; buffers of all passes but the last in ``subnetwork_passes[j-1]``, ``coarse_passes[j-1]``.

    Args:
        tearing: the torn network.
        n_iterations: K; another may be assigned at any time: buffers of passes then begin as those of
            the last one are.
        compute: how it is to be placed: an activation lies so where F^j, h or a later iteration reads it.

    Raises:
        ValueError: K is not among 1 … N.
    """

    def __init__(self, tearing: Tearing, n_iterations: int = 1, *, compute: Compute | None = None) -> None:
        super().__init__()
        n = tearing.n_subnetworks
        self.tearing = tearing
        self.preprocesses = nn.ModuleList(tearing.build_preprocess(j) for j in range(1, n + 1))
        self.subnetworks = nn.ModuleList(tearing.build_subnetwork(j) for j in range(1, n + 1))
        self.coarse_network = nn.ModuleList(tearing.build_coarse(j) for j in range(1, n))
        self.postprocess = tearing.build_postprocess()
        self.n_iterations = n_iterations
        self._memory_format = (compute or Compute()).memory_format

    @property
    def n_iterations(self) -> int:
        """K."""
        return self._n_iterations

    @n_iterations.setter
    def n_iterations(self, n_iterations: int) -> None:
        n = len(self.subnetworks)
        iterations = windows(n, n_iterations)
        self.subnetwork_passes = passes_of(self.subnetworks, iterations)
        self.coarse_passes = passes_of(self.coarse_network, [window[:-1] for window in iterations])
        self._n_iterations = n_iterations

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch (batch, *input_shape) to the output of h."""
        *_, reads = self.iterate(x)
        self.draw("postprocess", 0)
        return cast(Tensor, self.postprocess(reads[len(self.subnetworks) + 1]))

    def iterate(self, x: Tensor) -> Iterator[dict[int, Tensor]]:
        """What each iteration has found, by j: the x_j that the next begins from; of the last, x_{N+1}."""
        iterations = windows(len(self.subnetworks), self.n_iterations)
        subnetworks = repeated(self.subnetworks, self.subnetwork_passes)
        coarse_network = repeated(self.coarse_network, self.coarse_passes)
        reads: dict[int, Tensor] = {}
        for k, window in enumerate(iterations, start=1):
            outputs: dict[int, Tensor] = {}
            residuals: dict[int, Tensor] = {}
            for j in window:
                if k == 1 or j == window[-1]:  # for the first time
                    self.draw("subnetwork", j)
                x_j = self.preprocesses[j - 1](x) if k == 1 else reads[j]
                if j > window[0]:
                    # Now, because g^j may overwrite x_j in place.
                    residuals[j - 1] = self._crossing(outputs[j - 1] - x_j)
                if k == self.n_iterations:
                    outputs.clear()  # h needs y_N alone
                outputs[j] = subnetworks[j](x_j)
            reads = {}
            correction: Tensor | None = None
            for j in window:
                if j in outputs:
                    found = outputs[j] if correction is None else outputs[j] + correction
                    reads[j + 1] = self._crossing(found)
                if j in residuals:
                    if k == 1 or j == window[-2]:
                        self.draw("coarse", j)
                    residual = residuals[j]
                    if correction is not None:
                        residual = self._crossing(residual + correction)
                    correction = coarse_network[j](residual)
            yield reads

    def exact_reads(self, x: Tensor) -> dict[int, Tensor]:
        """The x_j that g^j, and for j = N + 1 h, reads in f."""
        reads = {1: self.preprocesses[0](x)}
        for j, g in enumerate(self.subnetworks, start=1):
            reads[j + 1] = g(reads[j].clone())
        return reads

    def _crossing(self, activation: Tensor) -> Tensor:
        """An activation as it arrives in another actor: dropout, for one, goes by how it lies in memory."""
        if len(self.subnetworks) == 1:  # then there is no other
            return activation
        return activation.contiguous(memory_format=self._memory_format(activation))

    def draw(self, component: str, j: int) -> None:
        """Called before C^j with g^j ("subnetwork"), F^j ("coarse") and h ("postprocess", j = 0) run first.

        Set it to what seeds the generators, as with :func:`models.initialisation.reseed`, where components
        are to draw what they draw in actors; this one lets the generators go on as they do.
        """


def tear(
    network: FeedForward,
    n_subnetworks: int = 1,
    *,
    n_iterations: int = 1,
    partition: str | Sequence[int] = "uniform",
    n_coarse_units: int | None = None,
    preprocess: str | PreprocessFactory = "auto",
    coarse: str | CoarseFactory = "units",
    costs: CostProfile | None = None,
    seed: int = 0,
) -> PararealNetwork:
    """Tear ``network`` into ``n_subnetworks`` and build the parareal network in this process.

    The arguments and errors are those of :func:`models.tearing.plan_tearing`, and K, ``n_iterations``.
    """
    return PararealNetwork(
        plan_tearing(
            network,
            n_subnetworks,
            partition=partition,
            n_coarse_units=n_coarse_units,
            n_iterations=n_iterations,
            preprocess=preprocess,
            coarse=coarse,
            costs=costs,
            seed=seed,
        ),
        n_iterations,
    )
