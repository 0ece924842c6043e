"""Options: how devices compute."""

from dataclasses import dataclass

import torch

from models.compute import Compute, Precision
from orchestrator.config.option import later


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """How devices compute."""

    precision: Precision = "float32"
    """Floating-point type: float32 (IEEE arithmetic), tf32 (faster convolutions and matrix products on
    GPUs, inputs rounded to 10 bits), float64; bfloat16: of activations alone, by autocast, weights stay
    float32."""
    channels_last: bool = False
    """Whether images keep their channels together in memory, which most devices compute fastest."""
    compiled: bool = False
    """Whether units run through torch.compile: faster steps, after minutes of compiling."""
    graphs: bool = later(False, before=False)
    """Whether the parts of a step are recorded once as CUDA graphs and replayed: no time is lost to
    launching kernels. GPUs only; not with float64, nor with several iterations."""

    def check(self) -> None:
        """See that values go together.

        Raises:
            ValueError: they do not.
        """
        if self.graphs and self.precision == "float64":
            raise ValueError(
                "--graphs True with --precision float64: the learning rate inside a graph is single "
                "precision: leave out one of them"
            )

    def compute(self, device: torch.device) -> Compute:
        """How the network computes on a device."""
        return Compute(device, self.precision, self.channels_last, self.compiled, self.graphs)
