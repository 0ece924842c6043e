"""A trial's network trained in this process by torch's own optimizer: what actors are compared with."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from models import PararealNetwork
from models.initialisation import reseed
from orchestrator.actors.learning_rate import learning_rate
from orchestrator.config import TORN, TrainingOptions, TrialConfig
from orchestrator.data.batches import Batches
from orchestrator.data.datasets import Data
from orchestrator.plan import describe, tear_as_asked


def one_process(
    config: TrialConfig,
    data: Data,
    *,
    device: str = "cpu",
    in_shares: bool = False,
    before_epoch: Callable[[PararealNetwork, int], None] = lambda network, epoch: None,
) -> tuple[PararealNetwork, list[dict[str, float]]]:
    """The trained network, with the gradients of the last step, and the metrics of every epoch.

    Strategies without a coarse network train the serial network, whatever N. ``in_shares``: the shares of the
    replicas go through the network one after the other, as they go through theirs: each draws its own random
    numbers, and running statistics are those of the first. ``before_epoch`` may change the network.
    """
    if config.strategy not in TORN:
        config = replace(config, n_subnetworks=1, strategy="serial")
    compute = replace(config.compute(torch.device(device)), graphs=False)
    compute.settle()
    batches = Batches(
        data, batch_size=config.batch_size, seed=config.seed, device=device, dtype=compute.weight_dtype
    )
    tearing = tear_as_asked(config, describe(config, data))
    network, task = PararealNetwork(tearing, config.n_iterations, compute=compute), tearing.network.task
    compute.place(network)
    optimizer = torchs_own_optimizer(network, config)
    draw = partial(reseed, torch.device(device), config.seed)
    replicas = range(1, config.n_replicas + 1)
    shares = [config.share(replica) for replica in replicas] if in_shares else [slice(None)]
    metrics = []
    for epoch in range(1, config.epochs + 1):
        before_epoch(network, epoch)
        network.train()
        losses = []
        for step in range(batches.n_train_steps):
            images, labels = batches.train(epoch, step)
            optimizer.zero_grad()
            loss = 0.0
            buffers: list[Tensor] = []
            for replica, share in enumerate(shares, start=1):
                its_own = [replica] if replica > 1 else []
                network.draw = partial(draw, epoch, "train", step, *its_own)  # type: ignore[method-assign]
                with compute.autocast():
                    part = task.loss(network(images[share]), labels[share])
                part = part * (len(labels[share]) / len(labels))
                part.backward()
                loss += part.item()
                buffers = buffers or [buffer.clone() for buffer in network.buffers()]
            if in_shares:
                for buffer, of_first in zip(network.buffers(), buffers, strict=True):
                    buffer.copy_(of_first)
            if config.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, epoch, step, batches.n_train_steps)
            optimizer.step()
            losses.append(loss)
        network.eval()
        with torch.no_grad(), compute.autocast():
            pairs = [batches.validation(step) for step in range(batches.validation.n_steps)]
            answers = []
            for step, (images, _) in enumerate(pairs):
                network.draw = partial(draw, epoch, "validation", step)  # type: ignore[method-assign]
                answers.append(network(images))
            logits = torch.cat(answers).to(compute.weight_dtype)
            labels = torch.cat([labels for _, labels in pairs])
        metrics.append(
            {
                "train_loss": sum(losses) / len(losses),
                "validation_loss": task.loss(logits, labels).item(),
                "validation_error": task.value(task.sums(logits, labels).tolist()),
            }
        )
    return network, metrics


def torchs_own_optimizer(network: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """What the options ask, by torch's own class."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decays = [p for p in parameters if p.ndim > 1 or options.decay == "all"]
    rest = [p for p in parameters if p.ndim <= 1 and options.decay == "weights"]
    groups = [{"params": decays, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=(options.momentum, options.beta2))
    return torch.optim.SGD(groups, momentum=options.momentum, nesterov=options.nesterov)
