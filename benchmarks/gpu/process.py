"""The process of one stage."""

import importlib
import os
import signal
from pathlib import Path

import torch

from benchmarks.gpu.report import Report


def run_stage(name: str, path: Path, device: str, tiny: bool, deadline: float) -> None:
    """Run a stage of :mod:`benchmarks.gpu` until ``time.monotonic()`` is ``deadline``; rows go to a file."""
    os.setsid()  # so that whatever it starts can be ended with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the main process sees to it
    stage = importlib.import_module(f"benchmarks.gpu.{name}")
    report = Report(path, torch.device(device), tiny, deadline)
    on_gpu = report.device.type == "cuda"
    report.note(card=torch.cuda.get_device_name() if on_gpu else "cpu", torch=torch.__version__)
    if not on_gpu:
        torch.set_num_threads(1)
    else:
        report.note(cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    try:
        stage.run(report)
    except Exception as error:
        report.note(error=f"{type(error).__name__}: {error}"[:2000])
        raise
    report.note(seconds_left=report.left())
