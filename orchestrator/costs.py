"""What the components of a trial's network cost on its devices: measured once, kept in the store."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from analysis.reading import DamagedError, read_json, sealed
from models.cost_profile import CostProfile, Shares
from models.feedforward import FeedForward
from models.profiling import measure_profile
from models.tearing import interface_factories
from orchestrator import cluster
from orchestrator.alone import MeasurementError, run_alone
from orchestrator.config import TrialConfig
from orchestrator.devices import GangResources
from orchestrator.storage.files import write_atomically


class Costs:
    """Cost profiles by network, interfaces, batch and device.

    A profile decides where a network is cut, so it is measured once and then stays what it is: a trial
    that goes on after an interruption finds the same cuts.

    Args:
        store: the result store's folder, which need not be there yet.
        address: of the Ray cluster to measure on; None starts one here.
        repeats: measurements of each component.
        timeout: seconds without a sign of life until the measuring process counts as frozen.
    """

    def __init__(
        self, store: Path, *, address: str | None = None, repeats: int = 5, timeout: float = 300.0
    ) -> None:
        self._folder = store / "costs"
        self._address = address
        self._repeats = repeats
        self._timeout = timeout
        self._profiles: dict[str, CostProfile] = {}
        self._measured: set[str] = set()  # of which the store does not hold everything

    def profile(
        self,
        config: TrialConfig,
        network: FeedForward,
        resources: GangResources,
        n_coarse_units: Collection[int],
    ) -> CostProfile:
        """The profile of a trial's network, with the trial's kind of C^j and F^j, of these N_c at least.

        Raises:
            ValueError: the components could not be measured, such as for lack of memory; or what the store
                holds of them is damaged.
            UnreadableError: what the store holds of them cannot be read just now.
        """
        size = config.largest_share
        return self.shares(config, network, resources, n_coarse_units, [size]).profiles[size]

    def shares(
        self,
        config: TrialConfig,
        network: FeedForward,
        resources: GangResources,
        n_coarse_units: Collection[int],
        sizes: Iterable[int],
    ) -> Shares:
        """The profiles with batches of several sizes; for the rest see :meth:`profile`."""
        keys = {
            size: key_of(replace(config, batch_size=size, n_replicas=1), network, resources) for size in sizes
        }
        missing: dict[int, set[int]] = {}
        for size, key in keys.items():
            if key not in self._profiles and (kept := _read(self._folder / f"{key}.json")) is not None:
                self._profiles[key] = kept
            known = self._profiles.get(key)
            lacking = set(n_coarse_units) - ({n for _, _, n in known.coarse} if known else set())
            if lacking or known is None:
                missing[size] = lacking
        measured = self._measure(config, network, resources, missing) if missing else {}
        for size, profile in measured.items():
            known = self._profiles.get(keys[size])
            self._measured.add(keys[size])
            # What is known stays: the cuts that follow from it must not move.
            self._profiles[keys[size]] = (
                replace(known, coarse=profile.coarse | known.coarse) if known else profile
            )
        return Shares({size: self._profiles[key] for size, key in keys.items()})

    def save(self) -> None:
        """Keep what has been measured in the store, for every later command."""
        for key in self._measured:
            text = sealed(self._profiles[key].to_dict())
            write_atomically(self._folder / f"{key}.json", partial(_write, text))

    def _measure(
        self,
        config: TrialConfig,
        network: FeedForward,
        resources: GangResources,
        n_coarse_units: Mapping[int, Collection[int]],
    ) -> dict[int, CostProfile]:
        """Profiles by size of batch, with these N_c of each."""
        cluster.connect(self._address)
        repeats = self._repeats

        def measure(device: torch.device) -> dict[int, CostProfile]:
            compute = config.compute(device)
            compute.settle()
            preprocess, coarse = interface_factories(
                network, preprocess=config.preprocess, coarse=config.coarse
            )
            return {
                size: measure_profile(
                    network,
                    preprocess=preprocess,
                    coarse=coarse,
                    n_coarse_units=numbers,
                    batch_size=size,
                    compute=compute,
                    repeats=repeats,
                )
                for size, numbers in n_coarse_units.items()
            }

        try:
            return run_alone(measure, resources, timeout=self._timeout)
        except MeasurementError as error:
            largest = max(n_coarse_units)
            raise ValueError(
                f"what {network.name} costs with batches of {largest} on {resources.device} could not be "
                f"measured ({error}): lower --batch-size"
            ) from error


def _read(path: Path) -> CostProfile | None:
    """The profile in a file; None if it is not there."""
    try:
        kept = read_json(path)
        profile = CostProfile.from_dict(kept)
        if kept.keys() != profile.to_dict().keys():
            raise ValueError(f"it holds {', '.join(map(str, kept))}")
        return profile
    except FileNotFoundError:
        return None
    except (AttributeError, DamagedError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no profile of costs ({error}): remove it to have them measured again; trials that "
            "are under way may then be cut elsewhere and belong into another --store"
        ) from error


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


_SIZES = ("shapes", "unit_parameters", "preprocess_parameters", "postprocess_parameters")
"""Of a network's trace, what profiles that stores hold are named by."""


def key_of(config: TrialConfig, network: FeedForward, resources: GangResources) -> str:
    """A name for everything that a component's cost depends on."""
    trace = vars(network.trace)
    facts = [
        *(config.network, config.network_options, network.input_shape),
        {name: trace[name] for name in _SIZES},
        *(config.preprocess, config.coarse, config.largest_share, config.precision),
        *(config.channels_last, config.compiled),
        *(resources.device, resources.threads),
        # Came later: profiles that a store holds keep their names.
        *(["graphs"] if config.graphs else []),
    ]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:10]
    return re.sub(r"[^A-Za-z0-9.-]", "_", f"{network.name}-{resources.device}-{digest}")
