"""Options: which network is trained."""

from dataclasses import dataclass

from orchestrator.config.option import at_least


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network is trained."""

    network: str = "resnet"
    """Architecture: a name in models.registry, or your own as path.to.module:factory."""
    depth: int | None = None
    """Depth of the network; a ResNet's is 9n + 2. None: the architecture's default."""
    width: int | None = None
    """Width of the network; 16 is the ResNet's usual. None: the architecture's default."""

    def check(self) -> None:
        """See that values are in range.

        Raises:
            ValueError: one is not.
        """
        at_least(1, self, "depth", "width", none=True)

    @property
    def network_options(self) -> dict[str, int]:
        """The options that the network's factory is called with: those that were given."""
        options = {"depth": self.depth, "width": self.width}
        return {name: value for name, value in options.items() if value is not None}
