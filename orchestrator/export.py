"""Writes a trained network to a file: ``python -m orchestrator.export STORE TRIAL FILE``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from analysis import StoreError
from analysis.command import command, complain, exit_status
from analysis.reading import UnreadableError
from models.parareal import PararealNetwork
from orchestrator.formats import check_format
from orchestrator.reason import reason
from orchestrator.storage.files import WriteError, write_atomically
from orchestrator.trained import Epoch, load_network


def export(network: PararealNetwork, file: Path) -> None:
    """Write a network in the format that the file's suffix names.

    ``.safetensors``: its weights alone, under the names of its ``state_dict``. ``.pt2``: a
    ``torch.export.ExportedProgram``. ``.onnx``: a model for ONNX runtimes. The latter two compute what the
    network does in eval mode, for batches of any size.

    Raises:
        ValueError: another suffix, a package that is not installed, or a network that cannot be traced.
        WriteError: the file cannot be written.
    """
    check_format(file)
    if file.suffix == ".safetensors":
        from safetensors.torch import save

        # Copies: of a tensor that goes by two names, the file is to have both.
        weights = save({name: value.clone().contiguous() for name, value in network.state_dict().items()})

        def write(path: Path) -> None:
            path.write_bytes(weights)

        write_atomically(file, write)
        return
    try:
        program = _traced(network, file.suffix)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ValueError(
            f"{network.tearing.network.name} cannot be traced for {file.suffix} ({reason(error)}): write its "
            "weights, as .safetensors"
        ) from error
    write_atomically(file, lambda path: _save(program, path, file.suffix))


def _traced(network: PararealNetwork, suffix: str) -> Any:
    """What torch has made of the network by trying it."""
    samples = network.tearing.network.samples()
    if samples.is_floating_point():
        samples = samples.to(next(network.parameters()).dtype)
    example: tuple[Tensor, ...] = (samples,)
    any_batch = ({0: torch.export.Dim("batch")},)
    if suffix == ".onnx":
        return torch.onnx.export(network, example, dynamic_shapes=any_batch, dynamo=True, verbose=False)
    return torch.export.export(network, example, dynamic_shapes=any_batch)


def _save(program: Any, path: Path, suffix: str) -> None:
    if suffix == ".onnx":
        program.save(path)
    else:
        with path.open("wb") as opened:
            torch.export.save(program, opened)


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status: 0 written, 1 could not be written, 2 refused."""

    def export_(
        store: tyro.conf.Positional[Path],
        trial: tyro.conf.Positional[str],
        file: tyro.conf.Positional[Path],
        *,
        epoch: Epoch = "last",
        accept_changed_code: tyro.conf.FlagCreatePairsOff[bool] = False,
    ) -> None:
        """Write the network that a trial has trained to a file, in one piece, torn or not.

        Args:
            store: the folder that a sweep has written, such as results/quickstart.
            trial: its id; python -m orchestrator.status STORE --ids shows them.
            file: .safetensors (weights), .pt2 (a program of torch.export) or .onnx.
            epoch: after which epoch: last, best (of a sweep with --keep best) or its number.
            accept_changed_code: go on where the code of your own network is not what was trained.
        """
        check_format(file)
        network = load_network(store, trial, epoch=epoch, accept_changed_code=accept_changed_code)
        export(network, file)
        print(f"wrote {file}")

    try:
        tyro.cli(export_, prog="python -m orchestrator.export", args=arguments)
    except WriteError as error:
        complain(error)
        return 1
    except (StoreError, UnreadableError, ValueError) as error:
        complain(error)
        return 2
    except KeyboardInterrupt:
        return exit_status()
    return 0


if __name__ == "__main__":
    command(main)
