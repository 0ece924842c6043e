"""How accurate torn networks are, with seeds.

    python -m benchmarks.accuracy digits          N = 1, 2, 3, 6, 9 on digits, 8 seeds each
    python -m benchmarks.accuracy interfaces      the forms of C^j and F^j at N = 6, 5 seeds each
    python -m benchmarks.accuracy deep            C^j at N = 6 on a network of 110 layers, 5 seeds each
    python -m benchmarks.accuracy fast            what shortens a step, at N = 6 on digits, 8 seeds each
    python -m benchmarks.accuracy architectures   ResNet, VGG, MLP and ViT at N = 1, 3, 6, 3 seeds each
    python -m benchmarks.accuracy mlp             the MLP at three learning rates, 6 seeds each
    python -m benchmarks.accuracy class_token     a ViT with a class token at N = 1, 3, 6, 5 seeds each
    python -m benchmarks.accuracy characters      a Transformer on text at N = 1, 2, 3, 6, 3 seeds each
    python -m benchmarks.accuracy cifar DATASET   N = 1, 3 on colour images, e.g. parquet:DIR of CIFAR-10

Each is one or more ordinary sweeps into results/accuracy-NAME, which go on where they stopped, with one
actor per trial: the same networks as in parallel, and as many trials at a time as there are cores.
Table 1 at the end has each setting's mean error (of text, perplexity), standard deviation and difference
to N = 1.
"""

import argparse
import sys
from pathlib import Path

from orchestrator.sweep import main

FIVE_SEEDS, SIX_SEEDS, EIGHT_SEEDS = ([*("--seed", *map(str, range(n)))] for n in (5, 6, 8))

DEFAULTS_AND_STRIDED = (["--coarse", "units", "shortcut"], ["--preprocess", "strided"])

NETWORKS = (("resnet", 56, 8, 0.1), ("vgg", 16, 16, 0.1), ("mlp", 14, 64, 0.02), ("vit", 12, 48, 0.1))
"""Name, depth, width and learning rate: at 0.1 the MLP does not train in one piece either."""

USUAL = [*("--depth", "56", "--partition", "uniform", "--coarse", "units")]
USUAL += [*("--epochs", "8", "--milestones", "5", "7")]
"""Where a study says nothing else."""

STUDIES = {
    "digits": [[*("--n-subnetworks", "1", "2", "3", "6", "9"), *EIGHT_SEEDS, "--preprocess", "strided"]],
    "interfaces": [
        [
            *("--n-subnetworks", "1", "6", *FIVE_SEEDS, "--preprocess", "strided", "patch", "stem"),
            *("--coarse", "units", "shortcut", "--n-coarse-units", "1", "2", "4"),
        ],
    ],
    "deep": [
        [
            *("--depth", "110", "--n-subnetworks", "1", "6", *FIVE_SEEDS),
            *("--epochs", "12", "--milestones", "8", "10", "--preprocess", "strided", "patch", "stem"),
        ],
    ],
    "fast": [
        [
            *("--n-subnetworks", "1", "6", *EIGHT_SEEDS, "--partition", "uniform", "staggered"),
            *("--preprocess", "strided"),
        ],
        [
            *("--n-subnetworks", "6", *EIGHT_SEEDS, "--partition", "staggered"),
            *("--preprocess", "stem", "--coarse", "shortcut"),
        ],
    ],
    "architectures": [
        [
            *("--network", name, "--depth", str(depth), "--width", str(width), "--learning-rate", str(rate)),
            *("--n-subnetworks", "1", "3", "6", "--seed", "0", "1", "2", *at_cuts),
        ]
        for name, depth, width, rate in NETWORKS
        for at_cuts in DEFAULTS_AND_STRIDED
    ],
    "mlp": [
        [
            *("--network", "mlp", "--depth", "14", "--width", "64"),
            *("--learning-rate", "0.02", "0.05", "0.1"),
            *("--n-subnetworks", "1", "3", "6", *SIX_SEEDS, *at_cuts),
        ]
        for at_cuts in DEFAULTS_AND_STRIDED
    ],
    "class_token": [
        [
            *("--network", f"benchmarks.class_token:{network}", "--depth", "12", "--width", "48"),
            *("--n-subnetworks", *ns, *FIVE_SEEDS, *corrections),
            *("--optimizer", "adamw", "--learning-rate", "0.003", "--decay", "weights"),
            *("--warmup", "1", "--schedule", "cosine_by_step"),
        ]
        for network, ns, corrections in (
            ("vit", "136", ["--coarse", "units", "shortcut"]),
            ("vit_corrected_by_blocks", "36", []),
            ("vit", "36", ["--n-coarse-units", "1"]),
            ("vit_corrected_by_blocks", "36", ["--n-coarse-units", "1"]),
        )
    ],
    "characters": [
        [
            *("--dataset", "benchmarks.characters:text", "--task", "next_token"),
            *("--network", f"benchmarks.characters:{network}", "--depth", "12", "--width", "32"),
            *("--n-subnetworks", *ns, "--seed", "0", "1", "2"),
            *("--n-coarse-units", "1", "--epochs", "2", "--batch-size", "32"),
            *("--optimizer", "adamw", "--learning-rate", "0.003", "--decay", "weights"),
            *("--warmup", "0.25", "--schedule", "cosine_by_step", "--clip-norm", "1"),
            *corrections,
        ]
        for network, ns, corrections in (
            ("transformer", "1236", ["--coarse", "units"]),
            ("transformer", "1236", ["--coarse", "shortcut"]),
            ("transformer", "1236", ["--n-iterations", "2"]),
            ("transformer_corrected_by_blocks", "236", []),
        )
    ],
    "cifar": [
        [
            *("--depth", "29", "--n-subnetworks", "1", "3", "--seed", "0", "1", "2"),
            *("--preprocess", "strided", "stem", "--channels-last", "True"),
            *("--train-subset", "4000", "--validation-subset", "1000"),
        ],
    ],
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("dataset", nargs="?", default="digits")
    asked = parser.parse_args()
    store = Path("results", f"accuracy-{asked.study}")
    fixed = [*("--store", str(store), "--dataset", asked.dataset)]
    fixed += ["--strategy", "serial", "--timing-repeats", "0"]
    if ":" in asked.dataset:  # CIFAR-10 as hubs serve it, which no name tells
        fixed += ["--random-crop", "on", "--random-flip", "on", "--validation-split", "test"]
    for options in STUDIES[asked.study]:
        if code := main([*USUAL, *fixed, *options]):  # refused, interrupted, or with trials that failed
            sys.exit(code)
