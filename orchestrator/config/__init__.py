"""What can be asked of a sweep, each option declared once: typed, validated, expanded into trials."""

from orchestrator.config.compute import ComputeOptions
from orchestrator.config.data import DataOptions
from orchestrator.config.network import NetworkOptions
from orchestrator.config.options import Devices, Options
from orchestrator.config.sweep import Sweep
from orchestrator.config.task import TaskOptions
from orchestrator.config.tearing import PIPELINES, SHARING, TORN, Strategy, TearingOptions
from orchestrator.config.training import Schedule, TrainingOptions
from orchestrator.config.trial import GROUPS, TrialConfig, config_columns, config_of

__all__ = [
    "GROUPS",
    "PIPELINES",
    "SHARING",
    "TORN",
    "ComputeOptions",
    "DataOptions",
    "Devices",
    "NetworkOptions",
    "Options",
    "Schedule",
    "Strategy",
    "Sweep",
    "TaskOptions",
    "TearingOptions",
    "TrainingOptions",
    "TrialConfig",
    "config_columns",
    "config_of",
]
