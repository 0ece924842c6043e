"""Parareal neural networks in plain torch: describe a feed-forward network, tear it, train it.

from models import resnet, tear
network = tear(resnet(depth=164, n_classes=10), n_subnetworks=3)
"""

from models.feedforward import FeedForward
from models.mlp import mlp
from models.parareal import PararealNetwork, tear
from models.resnet import resnet
from models.tearing import Tearing, plan_tearing
from models.vgg import vgg
from models.vit import vit

__all__ = [
    "FeedForward",
    "PararealNetwork",
    "Tearing",
    "mlp",
    "plan_tearing",
    "resnet",
    "tear",
    "vgg",
    "vit",
]
