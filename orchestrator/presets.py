"""Named sweeps: what ``--preset NAME`` starts from; options on the command line override it."""

from orchestrator.config import Sweep

_QUICKSTART = Sweep(
    # What can be seen on two cores in minutes: a network deep enough to be torn, with what costs no
    # accuracy and next to no time at the cuts; N = 2, which these cores compute at once, and N = 6.
    n_subnetworks=(1, 2, 6),
    seed=(0, 1, 2),
    depth=110,
    width=8,
    partition="staggered",
    coarse="shortcut",
    epochs=6,
    milestones=(4, 5),
)

_PAPER = Sweep(
    # Paper, section 5: ResNet-1001, batch 128, 200 epochs, learning rate 0.1 divided by 10 at the
    # 80th and 120th epoch, SGD with momentum 0.9 and weight decay 5e-4, N_c = ⌈12 / N⌉.
    n_subnetworks=(1, 3, 6, 12, 18),
    dataset="cifar10",
    seed=0,
    network="resnet",
    depth=1001,
    width=16,
    preprocess="strided",
    coarse="units",
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    schedule="step",
    milestones=(80, 120),
)

_TABLE2 = Sweep(
    # Paper, Table 2: gradient time of each component, one after the other on one device. The paper's
    # batch is 128 (pass --batch-size 128 where there is memory for it); 32 fits in 20 GiB.
    n_subnetworks=(1, 3, 6, 12, 18, 24),
    dataset="synthetic",
    seed=0,
    depth=1001,
    width=16,
    preprocess="strided",
    coarse="units",
    strategy="serial",
    epochs=0,
    batch_size=32,
)

_VGG16 = _PAPER.but(
    # The full article tears VGG-16 too. How, we have not read: N, N_c and C^j are ours, training is as above.
    n_subnetworks=(1, 2, 3),
    network="vgg",
    depth=16,
    width=64,
    preprocess="auto",
    n_coarse_units=1,
)

_IMAGENET = _VGG16.but(
    # As is usual for ImageNet, but for a crop that is shifted, not scaled as well.
    dataset="image_folder:imagenet",
    image_size=224,
    random_crop="on",
    random_flip="on",
    epochs=90,
    milestones=(30, 60),
)

PRESETS: dict[str, Sweep] = {
    "quickstart": _QUICKSTART,
    "cifar10": _PAPER,
    "cifar100": _PAPER.but(dataset="cifar100"),
    "vgg16": _VGG16,
    "imagenet": _IMAGENET,
    "table2": _TABLE2,
}
