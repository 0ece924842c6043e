"""Every column of the result store: its type, its unit and what it means.

The orchestrator writes by it, this package reads by it, and ``docs/results.md`` is tested against it.
"""

from typing import NamedTuple

import pyarrow as pa

TEXT, WHOLE, REAL, YES_NO = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")


class Column(NamedTuple):
    """One column of a frame.

    Attributes:
        name: as in the files.
        type: as in the files; any value may be missing.
        unit: "%", "s", …; "" for what has none.
        meaning: one sentence without its full stop.
        default: what readers take for a missing value, such as what was done before there was the option;
            None where missing stays missing.
    """

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    default: bool | float | str | None = None


TRIAL_ID = Column("trial_id", TEXT, "", "which trial; ends in a hash of every option that decides its result")

COLUMNS: dict[str, list[Column]] = {
    "trials": [
        TRIAL_ID,
        Column(
            *("status", TEXT, "", "running, finished, diverged (the loss was not finite) or failed"),
            default="unknown",
        ),
        Column("error", TEXT, "", "why it diverged or failed"),
        Column("started", TIME, "UTC", "when the trial was started first"),
        Column("finished", TIME, "UTC", "when it ended, missing while it runs"),
        Column("dataset", TEXT, "", "name of the data set, or kind:path of one's own"),
        Column("train_subset", WHOLE, "images", "size of the training subset, missing: all"),
        Column("validation_subset", WHOLE, "images", "size of the validation subset, missing: all"),
        Column("augment", YES_NO, "", "whether training images might be augmented; crop and flip say how"),
        Column(
            *("random_crop", TEXT, "", "whether to crop at random: on, off or auto, the set's custom"),
            default="auto",
        ),
        Column(
            *(
                "random_flip",
                TEXT,
                "",
                "whether to mirror at random: on, off or auto, the set's custom",
            ),
            default="auto",
        ),
        Column("label_column", TEXT, "", "column of the labels, missing: the one with a customary name"),
        Column("validation_split", TEXT, "", "split that validated, missing: the one with a customary name"),
        Column("validation_fraction", REAL, "", "part of the training images that validated, missing: none"),
        Column("image_size", WHOLE, "pixels", "what images were scaled and cropped to, missing: left as is"),
        Column(
            *("image_mode", TEXT, "", "channels of images of one's own: grey, colour, or auto, as they are"),
            default="auto",
        ),
        Column("network", TEXT, "", "architecture, or module:factory of one's own"),
        Column("depth", WHOLE, "layers", "depth of the network, missing: the architecture's default"),
        Column("width", WHOLE, "channels", "width of the network, missing: the architecture's default"),
        Column("n_subnetworks", WHOLE, "", "N: parallel subnetworks; 1 is the network in one piece"),
        Column("partition", TEXT, "", "how units were shared out: uniform, balanced or staggered"),
        Column("partition_sizes", TEXT, "units", "units of each subnetwork, separated by blanks"),
        Column("preprocess", TEXT, "", "C^j for j > 1: auto, strided, patch or stem"),
        Column("coarse", TEXT, "", "F^j: units or shortcut"),
        Column("n_coarse_units", WHOLE, "units", "N_c: units in each F^j"),
        Column("strategy", TEXT, "", "parareal, serial, data_parallel, gpipe or 1f1b"),
        Column("seed", WHOLE, "", "seed of initial weights, order of images and augmentation"),
        Column("initial", TEXT, "", "file or store of the weights it began with, missing: those of the seed"),
        Column("epochs", WHOLE, "epochs", "how many were asked for; 0: components were only timed"),
        Column("batch_size", WHOLE, "images", "images in a training step"),
        Column("task", TEXT, "", "what it is trained for", default="classification"),
        Column("label_smoothing", REAL, "", "share of a target's weight that all get alike", default=0.0),
        Column("metric", TEXT, "", "what the columns of errors hold: error, RMSE, …", default="error"),
        Column("unit", TEXT, "", "its unit", default="%"),
        Column("better", TEXT, "", "whether a lower or a higher one is better", default="lower"),
        Column("optimizer", TEXT, "", "sgd or adamw", default="sgd"),
        Column("learning_rate", REAL, "", "learning rate that the schedule begins with"),
        Column("schedule", TEXT, "", "step, cosine or cosine_by_step"),
        Column("warmup", REAL, "epochs", "in which the learning rate rises step by step", default=0.0),
        Column("milestones", TEXT, "epochs", "after which the step schedule divides the rate by 10"),
        Column("momentum", REAL, "", "momentum of SGD, β1 of AdamW"),
        Column("nesterov", YES_NO, "", "whether the momentum is Nesterov's", default=False),
        Column("beta2", REAL, "", "β2 of AdamW", default=0.999),
        Column("weight_decay", REAL, "", "weight decay"),
        Column("decay", TEXT, "", "what decays: all parameters, or weights alone", default="all"),
        Column("clip_norm", REAL, "", "largest norm of the whole gradient"),
        Column(
            "precision",
            TEXT,
            "",
            "floating-point type: float32 (IEEE), tf32, float64, or bfloat16 for activations",
        ),
        Column("channels_last", YES_NO, "", "whether images kept their channels together in memory"),
        Column("compiled", YES_NO, "", "whether units ran through torch.compile"),
        Column(
            *("graphs", YES_NO, "", "whether a step's parts were recorded as CUDA graphs and replayed"),
            default=False,
        ),
        Column(
            *(
                "n_iterations",
                WHOLE,
                "",
                "K: iterations of the parareal algorithm; N is the original network",
            ),
            default=1,
        ),
        Column(
            "n_replicas",
            *(WHOLE, "", "D: replicas, each with its share of every batch, that take one step together"),
            default=1,
        ),
        Column(
            "batch_norm",
            *(TEXT, "", "statistics by which BatchNorm normalised: of a share of the batch, or synchronised"),
            default="share",
        ),
        Column("n_train", WHOLE, "samples", "training samples, those of the subset"),
        Column("n_validation", WHOLE, "samples", "validation samples, those of the subset"),
        Column("n_test", WHOLE, "samples", "test samples, 0: none beside those that validate"),
        Column("input_shape", TEXT, "", "of a sample; of an image channels×height×width"),
        Column(
            "n_classes", WHOLE, "", "classes of the data set, tokens of a vocabulary, or numbers of a target"
        ),
        Column("vocabulary", WHOLE, "", "number of tokens that inputs are made of, none: inputs are none"),
        Column("classes", TEXT, "", "the classes' names by number, a JSON list"),
        Column(
            "crop", WHOLE, "pixels", "added at either end of the longer side before a random crop, 0: none"
        ),
        Column("flip", YES_NO, "", "whether training images were mirrored at random"),
        Column("data_fingerprint", TEXT, "", "key of all inputs, targets and classes"),
        Column("code_fingerprint", TEXT, "", "key of the code of one's own network and task"),
        Column("initial_fingerprint", TEXT, "", "key of the weights to begin with, missing: none were given"),
        Column(
            "variety", REAL, "", "how far C^j(x) differs from sample to sample, 0 to 1, where it does least"
        ),
        Column("data_code_fingerprint", TEXT, "", "key of the code of one's own data, with its augmentation"),
        Column(
            *("n_validation_shared", WHOLE, "samples"),
            "validation samples that are training samples too, bit for bit",
        ),
        Column(
            *("n_test_shared", WHOLE, "samples"),
            "test samples that are training or validation samples too, bit for bit",
        ),
        Column(
            *("test_error", REAL, "%"),
            "error rate, or the task's metric, on the test data, measured once, after the last epoch",
        ),
        Column("parameters", WHOLE, "", "number of parameters, coarse network included"),
        Column("parameters_coarse_network", WHOLE, "", "number of parameters of all F^j"),
        Column("devices", TEXT, "", "number and kind of devices, one an actor: 4 cpu"),
        Column("cores", REAL, "", "processor cores that its actors had together"),
        Column("python", TEXT, "", "version"),
        Column("torch", TEXT, "", "version"),
        Column("ray", TEXT, "", "version"),
        Column("project", TEXT, "", "version"),
        Column("commit", TEXT, "", "of the checkout, with a + where files differed from it"),
        Column("host", TEXT, "", "name of the machine that the sweep was started on"),
    ],
    "epochs": [
        TRIAL_ID,
        Column("epoch", WHOLE, "", "number of the epoch, from 1"),
        Column("learning_rate", REAL, "", "learning rate of this epoch's last step"),
        Column("train_loss", REAL, "", "the task's loss, mean over the samples of the epoch"),
        Column("train_error", REAL, "%", "error rate, or the task's metric, on the augmented training data"),
        Column("validation_loss", REAL, "", "the loss after the epoch, mean over the validation samples"),
        Column("validation_error", REAL, "%", "error rate, or the task's metric, on the validation data"),
        Column("seconds", REAL, "s", "duration of the epoch's training steps, without validation"),
        Column("samples_per_second", REAL, "images/s", "training images by these seconds"),
        Column("step_seconds", REAL, "s", "median duration of a training step; the first epoch warms up"),
        Column("bytes_sent", WHOLE, "B", "what all actors send to one another in a training step"),
        Column(
            "peak_memory_bytes", WHOLE, "B", "of the largest actor: growth of its own memory, or on the GPU"
        ),
    ],
    "timings": [
        TRIAL_ID,
        Column(
            "mode",
            TEXT,
            "",
            "virtual: a part alone on one device; wall: in a step, mean over an epoch; turns: steps of N = 1 "
            "and of another N in turns, mean of a round",
        ),
        Column("component", TEXT, "", "a part of the network, or step for all of it; wall: also an actor"),
        Column("subnetwork", WHOLE, "", "j, from 1; 0: what there is once, such as the postprocess"),
        Column(
            "direction",
            TEXT,
            "",
            "forward, backward; wall: also wait, optimizer; step: critical_path, turns: wall",
        ),
        Column("seconds", REAL, "s", "duration of one pass"),
        Column(
            "repeat", WHOLE, "", "number of the measurement, from 0; wall: of the epoch, turns: of the round"
        ),
        Column("batch_size", WHOLE, "images", "images in the batch that was timed"),
        Column("device", TEXT, "", "cpu, cuda, or the name of the GPU"),
        Column("memory_bytes", WHOLE, "B", "virtual: parameters, gradients, what is kept for backward"),
    ],
}
"""Columns by kind of file. A store may hold more, of a later version; readers keep them."""

SCHEMAS: dict[str, pa.Schema] = {
    kind: pa.schema([(column.name, column.type) for column in columns]) for kind, columns in COLUMNS.items()
}
"""By kind. Left to be guessed from the rows, the type of a column would differ between files where a
value is missing, and readers of the whole folder would stumble."""
