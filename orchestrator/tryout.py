"""A trial's network tried as it is to be trained: in parts of batches, in the types and layout asked for."""

from dataclasses import replace

import torch

from models.compute import Compute
from models.feedforward import FeedForward
from models.tearing import Tearing
from orchestrator.config import PIPELINES, TORN, TrialConfig
from orchestrator.data.data import Data
from orchestrator.reason import reason


def try_network(config: TrialConfig, network: FeedForward, data: Data, devices: str) -> None:
    """See that all components and the task compute as they are asked to.

    Raises:
        ValueError: one does not; the message names it.
    """
    compute = _here(config, devices)
    if not compute.asked:
        return
    outputs = network.check_compute(compute).requires_grad_()
    targets = next(data.targets())[: len(outputs)]
    outputs = outputs[: len(targets)]
    try:
        with compute.autocast():
            network.task.loss(outputs, targets).backward()
        network.task.sums(outputs.detach(), targets)
    except Exception as error:  # whatever a task of a user's own does
        raise ValueError(
            f"--task {config.task} does not compute with {compute.asked}: {reason(error)}: leave that out"
        ) from error


def try_tearing(config: TrialConfig, tearing: Tearing, devices: str) -> None:
    """See that what reads or stands at the cuts computes as it is asked to, and on parts of batches.

    Raises:
        ValueError: something does not; the message names it.
    """
    _refuse_lonely_images(config, tearing)
    compute = _here(config, devices)
    if compute.asked and config.strategy != "data_parallel":
        exact = config.n_iterations == config.n_subnetworks
        tearing.check_compute(compute, torn=config.strategy in TORN and not exact)


def _here(config: TrialConfig, devices: str) -> Compute:
    """How a trial's components can be tried in this process.

    On a GPU other functions compute in bfloat16 than on cores, which would tell nothing of them.
    """
    compute = config.compute(torch.device("cpu"))
    compute = replace(compute, compiled=False, graphs=False)
    return (
        replace(compute, precision="float32")
        if devices != "cpu" and config.precision == "bfloat16"
        else compute
    )


def _refuse_lonely_images(config: TrialConfig, tearing: Tearing) -> None:
    """See that no component gets single images that it can only be trained on several of, as BatchNorm can.

    Raises:
        ValueError: one does.
    """
    n, strategy = config.n_subnetworks, config.strategy
    parts = {"data_parallel": n}.get(strategy, config.n_replicas)
    if strategy in PIPELINES:
        parts = config.n_microbatches
    if config.batch_size // parts > 1:
        return
    try:
        tearing.check_batch(1, torn=strategy in TORN)
    except ValueError as error:
        among = f", in {parts} parts," * (parts > 1)
        raise ValueError(
            f"--batch-size {config.batch_size}{among} lets a pass have one image, but {error}: raise it"
        ) from error
