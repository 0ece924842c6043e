"""What the process imports from which all stages are forked; it must not touch the GPU."""

import orchestrator.actors.optimizer
import orchestrator.data.datasets  # noqa: F401
