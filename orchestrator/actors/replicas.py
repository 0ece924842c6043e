"""Replicas: D equal gangs, each with its share of every batch, that take one and the same step.

 subnetwork j of replica 1      subnetwork j of replica 2      …
 backward pass                  backward pass                  gradients as they come, last unit first:
 ▓▓▓▓▓▓▓▓▓▓▓▓▓▓ ◀── sum ──▶ ▓▓▓▓▓▓▓▓▓▓▓▓▓▓                      a bucket is summed as soon as it is full
 optimizer step                 optimizer step                 on the same sums, bit for bit

The driver of each replica takes its loss for the part of the batch's that it is, so that sums of gradients
are gradients of the mean over the whole batch, whatever the shares' sizes.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch import distributed as dist

from orchestrator.actors.flat import flatten, flatten_bytes, split, split_bytes, state_tensors
from orchestrator.actors.gloo import gloo_group
from orchestrator.actors.links import gpu_name
from orchestrator.actors.nccl_link import options
from orchestrator.actors.transport import Transfer, as_transport_error

BUCKET_BYTES = 1 << 20
"""Gradients that are summed at a time: few enough that those of a small subnetwork do not all come last."""


class Replicas:
    """The holders of one part of the network, one in each replica, as one of them sees them.

    NCCL where each has a GPU to itself, else Gloo.

    Args:
        store: where they find each other; nobody else uses it.
        name: what they are called in errors.
        replica: which of them this is, 1 … D.
        size: D.
        host: this machine's address, as the others can reach it.
        device: where this one's tensors live.
        timeout: seconds to wait for the others.

    Raises:
        TransportError: one of them does not appear in time.
    """

    def __init__(
        self,
        store: dist.Store,
        *,
        name: str,
        replica: int,
        size: int,
        host: str,
        device: torch.device,
        timeout: float,
    ) -> None:
        self.size = size
        self.bytes_sent = 0
        self._name = name
        rank = replica - 1
        with as_transport_error(name):
            store.set(f"gpu-{rank}", gpu_name(device, host))
            gpus = {store.get(f"gpu-{other}") for other in range(size)}
            self._group: dist.ProcessGroupNCCL | dist.ProcessGroupGloo
            if device.type == "cuda" and len(gpus) == size:
                self._group = dist.ProcessGroupNCCL(
                    dist.PrefixStore("nccl", store), rank, size, options(timeout)
                )
            else:
                gloo = dist.PrefixStore("gloo", store)
                self._group = gloo_group(gloo, rank=rank, size=size, host=host, timeout=timeout)
        # A communicator comes with what is first asked of it, which takes seconds: not in a step, then.
        self.agree(torch.zeros(1, device=device)).wait()

    def sum(self, tensor: Tensor) -> Transfer:
        """Start adding a tensor up over all replicas, in place; all get the same bits.

        All must ask for the same sums in the same order.
        """
        # What no reduction can go below, and Gloo's and NCCL's rings attain: computed, not counted.
        self.bytes_sent += 2 * (self.size - 1) * tensor.nbytes // self.size
        return self.agree(tensor)

    def agree(self, tensor: Tensor) -> Transfer:
        """The same, but of what is asked once in the life of a gang: it counts in no step's bytes.

        Otherwise an epoch had others when it is the first after a loss.
        """
        with as_transport_error(self._name):
            return _Joint(self._name, tensor, self._group.allreduce([tensor]))

    def share_buffers(self, module: nn.Module) -> None:
        """Take over the first replica's buffers, which depend on what each has seen: running statistics."""
        if not (tensors := state_tensors(module, parameters=False)):
            return
        values = flatten_bytes(tensors)
        with as_transport_error(self._name):
            _Joint(self._name, values, self._group.broadcast([values], dist.BroadcastOptions())).wait()
        for tensor, value in zip(tensors, split_bytes(values, tensors), strict=True):
            tensor.copy_(value)


@dataclass(frozen=True)
class _Joint:
    """What all replicas do together with a tensor, which must outlive it."""

    name: str
    tensor: Tensor
    work: dist.Work

    def wait(self) -> None:
        with as_transport_error(self.name):
            self.work.wait()


class GradientSums:
    """Sums of the gradients of some parameters over all replicas, begun while the backward pass goes on.

    The first step waits for the backward pass to end, to learn which gradients come in one piece: those of
    a module that runs several times, or not every time, are summed at the end of every step.

    Args:
        replicas: who adds up.
        parameters: in the order of the forward pass.
        completed_later: those of them to whose gradients something is added after the backward pass.
    """

    def __init__(
        self,
        replicas: Replicas,
        parameters: Sequence[nn.Parameter],
        completed_later: Collection[nn.Parameter] = (),
    ) -> None:
        self._replicas = replicas
        later = {id(parameter) for parameter in completed_later}
        trained = [parameter for parameter in reversed(parameters) if parameter.requires_grad]
        self._early = [*_buckets(p for p in trained if id(p) not in later)]
        self._late = [*_buckets(p for p in trained if id(p) in later)]
        self._settled = False
        self._started = 0  # of the early ones
        for bucket in self._early:
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(partial(self._arrived, bucket))

    def _arrived(self, bucket: "_Bucket", parameter: Tensor) -> None:
        """Something has been added to a parameter's gradient."""
        if bucket.summing is not None:
            raise RuntimeError(
                "a gradient that came in one piece in the first step comes in several now: --n-replicas sums "
                "none of a module that runs a random number of times"
            )
        bucket.in_pieces |= id(parameter) in bucket.arrived
        bucket.arrived.add(id(parameter))
        while self._settled and self._started < len(self._early) and self._early[self._started].is_full:
            self._early[self._started].start(self._replicas)
            self._started += 1

    def finish(self) -> None:
        """Sum what is left; then every parameter's gradient is its sum.

        One that a replica does not have, of a layer that was left out at random, counts as zero; one that
        none has is none.

        Raises:
            TransportError: another replica is gone or silent.
        """
        if not self._settled:
            self._settle()
        for bucket in (*self._early[self._started :], *self._late):
            bucket.start(self._replicas)
        for bucket in (*self._early, *self._late):
            bucket.finish()
        self._started = 0

    def _settle(self) -> None:
        """Agree on the buckets of which all gradients have come in one piece, in all replicas."""
        if self._early:
            device = self._early[0].parameters[0].device
            apart = torch.tensor([not b.is_full or b.in_pieces for b in self._early], device=device).float()
            self._replicas.agree(apart).wait()
            pairs = [*zip(self._early, apart.tolist(), strict=True)]
            self._late = [*(b for b, n_apart in pairs if n_apart), *self._late]
            self._early = [b for b, n_apart in pairs if not n_apart]
        self._settled = True


class _Bucket:
    """Parameters of one type, whose gradients are summed together."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.summing: Transfer | None = None
        self.arrived: set[int] = set()
        self.in_pieces = False

    @property
    def is_full(self) -> bool:
        """Whether there is a gradient of every parameter."""
        return len(self.arrived) == len(self.parameters)

    def start(self, replicas: Replicas) -> None:
        """Start summing what there is, and how many replicas have it."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        real = [torch.view_as_real(g.resolve_conj()) if g.is_complex() else g for g in gradients]
        holders = real[0].new_tensor([p.grad is not None for p in self.parameters])
        self._like = [*real, holders]
        self._sum = flatten(self._like)
        self.summing = replicas.sum(self._sum)

    def finish(self) -> None:
        """Wait for the sums, and take them over."""
        assert self.summing is not None
        self.summing.wait()
        *sums, holders = split(self._sum, self._like)
        sums = [
            torch.view_as_complex(total) if p.is_complex() else total
            for p, total in zip(self.parameters, sums, strict=True)
        ]
        if any(p.grad is None for p in self.parameters):
            for parameter, total, n_holders in zip(self.parameters, sums, holders.tolist(), strict=True):
                if parameter.grad is None and n_holders:
                    parameter.grad = total.clone()
        there = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        if there:
            gradients = [cast(Tensor, self.parameters[i].grad) for i in there]
            torch._foreach_copy_(gradients, [sums[i] for i in there])
        del self._like, self._sum
        self.summing = None
        self.arrived.clear()


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterable[_Bucket]:
    """Neighbours of one type together, up to :data:`BUCKET_BYTES` or one that is larger."""
    members: list[nn.Parameter] = []
    for parameter in parameters:
        alike = members and members[0].dtype == parameter.dtype
        if members and not (alike and sum(p.nbytes for p in (*members, parameter)) <= BUCKET_BYTES):
            yield _Bucket(members)
            members = []
        members.append(parameter)
    if members:
        yield _Bucket(members)
