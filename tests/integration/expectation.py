"""A task of a user's own: digits as numbers, of which the network says how probable each is."""

import torch

from models.task import Task


class Expectation(Task):
    """Squared distance between a digit and the expected one; the mean distance, of which more is worse."""

    metric, unit = "distance", "digits"

    def loss(self, outputs, targets):
        return (self.expected(outputs) - targets).square().mean()

    def sums(self, outputs, targets):
        distance = (self.expected(outputs) - targets).abs().sum()
        return torch.stack([distance, torch.full_like(distance, len(targets))])

    def value(self, sums):
        return sums[0] / sums[1]

    @staticmethod
    def expected(outputs):
        return outputs.softmax(dim=1) @ torch.arange(outputs.shape[1], dtype=outputs.dtype)


class Largest(Expectation):
    """The loss of the worst sample alone: no mean."""

    def loss(self, outputs, targets):
        return (self.expected(outputs) - targets).square().max()
