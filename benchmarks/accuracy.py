"""How accurate torn networks are, with seeds.

    python -m benchmarks.accuracy digits          N = 1, 2, 3, 6, 9 on digits, 8 seeds each
    python -m benchmarks.accuracy preprocess      C^j and N_c at N = 6 on a deeper network, 5 seeds each
    python -m benchmarks.accuracy cifar DATASET   N = 1, 3 on colour images, e.g. parquet:DIR of CIFAR-10

Each is an ordinary sweep (results/accuracy-NAME), which goes on where it stopped, with one actor per
trial: the same networks as in parallel, and as many trials at a time as there are cores.
"""

import sys

from orchestrator.sweep import main

STUDIES = {
    "digits": [*("--n-subnetworks", "1", "2", "3", "6", "9"), *("--seed", *map(str, range(8)))],
    "preprocess": [
        *("--depth", "110", "--n-subnetworks", "1", "6", "--seed", *map(str, range(5))),
        *("--preprocess", "strided", "patch", "--n-coarse-units", "1", "2", "4"),
    ],
    "cifar": [
        *("--depth", "29", "--n-subnetworks", "1", "3", "--seed", "0", "1", "2"),
        *("--train-subset", "4000", "--validation-subset", "1000"),
    ],
}

if __name__ == "__main__":
    name, *dataset = sys.argv[1:]
    options = STUDIES[name] + (["--dataset", *dataset] if dataset else [])
    store = ["--store", f"results/accuracy-{name}"]
    sys.exit(main([*options, *store, "--strategy", "serial", "--timing-repeats", "0"]))
