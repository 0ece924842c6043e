"""GroupLink: between any two processes, by NCCL where both have a GPU, else by Gloo."""

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from orchestrator.actors.transport import Transfer, as_transport_error


class GroupLink:
    """A :class:`Link` by torch's process groups, of two ranks each.

    Arguments are those of :func:`orchestrator.actors.links.connect_link`.

    Raises:
        TransportError: the peer does not appear in time.
    """

    def __init__(
        self, store: dist.Store, *, name: str, rank: int, host: str, device: torch.device, timeout: float
    ) -> None:
        self.name = name
        self.bytes_sent = 0
        self.inbox: Tensor | None = None
        self._peer = 1 - rank
        self._device = device
        self._timeout = timedelta(seconds=timeout)
        with as_transport_error(name):
            store = dist.PrefixStore(name, store)
            # The words and all CPU tensors go by Gloo, also where tensors go by NCCL.
            options = dist.ProcessGroupGloo._Options()
            options._timeout = self._timeout
            options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
            self._gloo = dist.ProcessGroupGloo(dist.PrefixStore("gloo", store), rank, 2, options)
            store.set(f"device-{rank}", _identity(device))
            ours, theirs = _identity(device), store.get(f"device-{self._peer}").decode()
            self._nccl: dict[int, dist.ProcessGroupNCCL] = {}
            # NCCL refuses two ranks on one GPU; such a pair goes through host memory.
            if ours.startswith("cuda") and theirs.startswith("cuda") and ours != theirs:
                # A group for each direction, by its sender: what one group is given runs in that order
                # on one stream, and a receive posted ahead must not hold up what is sent meanwhile.
                for sender in (0, 1):
                    nccl_options = dist.ProcessGroupNCCL.Options()
                    nccl_options._timeout = self._timeout
                    self._nccl[sender] = dist.ProcessGroupNCCL(
                        dist.PrefixStore(f"nccl-{sender}", store), rank, 2, nccl_options
                    )
        self.backend = "nccl" if self._nccl else "gloo"

    def send(self, tensor: Tensor) -> Transfer:
        """See :meth:`Link.send`."""
        with as_transport_error(self.name):
            tensor = tensor.contiguous()
            self.bytes_sent += tensor.nbytes
            if self._nccl:
                return _Pending(self, self._nccl[1 - self._peer].send([tensor], self._peer, 0), tensor)
            staged = tensor.cpu()  # the tensor itself where it is on the CPU already
            return _Pending(self, self._gloo.send([staged], self._peer, _TENSOR), staged)

    def receive(self, out: Tensor) -> Transfer:
        """See :meth:`Link.receive`."""
        if not out.is_contiguous():
            raise ValueError(f"{self.name}: a tensor can only be received into contiguous memory")
        with as_transport_error(self.name):
            if self._nccl:
                return _Pending(self, self._nccl[self._peer].recv([out], self._peer, 0), out)
            if out.device.type == "cpu":
                return _Pending(self, self._gloo.recv([out], self._peer, _TENSOR), out)
            staged = torch.empty_like(out, device="cpu", pin_memory=True)
            return _Pending(self, self._gloo.recv([staged], self._peer, _TENSOR), staged, copy_to=out)

    def send_word(self, *values: float) -> Transfer:
        """See :meth:`Link.send_word`."""
        word = torch.tensor(values, dtype=torch.float64)
        self.bytes_sent += word.nbytes
        with as_transport_error(self.name):
            return _Pending(self, self._gloo.send([word], self._peer, _WORD), word)

    def receive_word(self, length: int) -> list[float]:
        """See :meth:`Link.receive_word`."""
        word = torch.empty(length, dtype=torch.float64)
        with as_transport_error(self.name):
            self._gloo.recv([word], self._peer, _WORD).wait(self._timeout)
        return word.tolist()


_TENSOR, _WORD = 0, 1  # Gloo's tags: words and tensors of one link do not wait for each other


@dataclass(frozen=True)
class _Pending:
    """A transfer under way; holds the tensor, which must outlive it."""

    link: GroupLink
    work: dist.Work
    tensor: Tensor
    copy_to: Tensor | None = None

    def wait(self) -> None:
        with as_transport_error(self.link.name):
            self.work.wait(self.link._timeout)
        if self.copy_to is not None:
            self.copy_to.copy_(self.tensor)


def _identity(device: torch.device) -> str:
    """A name that two actors share only if they use the same GPU, or none."""
    if device.type != "cuda":
        return "cpu"
    return f"cuda {torch.cuda.get_device_properties(device).uuid}"
