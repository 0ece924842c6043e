"""Every Python that is started below the tests runs this: workers of Ray are forked, the rest starts as ever.

The process that runs here stays until the worker ends, and takes it along when Ray ends it.
"""

import os
import sys

FORKS = "PARAREAL_TEST_FORKS"
"""The environment's name of the folder of what ``forks.py`` has there."""

SCRIPT = next((argument for argument in sys.orig_argv if argument.endswith(".py")), "")

if os.environ.get(FORKS) and SCRIPT.endswith(("/default_worker.py", "/setup_worker.py")):
    from pathlib import Path

    from asking import as_set_up, ask

    if worker := as_set_up(sys.orig_argv, os.environ):
        ask(f"{os.environ[FORKS]}/workers", *worker, Path.cwd(), [0, 1, 2]).recv(1)  # its end
        os._exit(0)
