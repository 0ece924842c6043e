"""What --dry-run says of the cuts before anything is trained: will tearing work for this network?"""

from rich.console import RenderableType
from rich.text import Text

from analysis.summary import BLIND
from models.diagnosis import Cut, diagnose
from models.parareal import PararealNetwork
from orchestrator.config import TORN
from orchestrator.plan import Plan, data_key, distinct, first_inputs
from orchestrator.terminal import Rows
from orchestrator.trial import Job, labels

SHOWN = {
    "cuts": "",
    "variety": "variety {}",
    "likeness": "likeness {}",
    "carried": "carried {}",
    "growth": "growth {}",
}
"""Columns, and what is said where there is no room for one."""


def look_at_cuts(plan: Plan) -> list[RenderableType]:
    """A look at every torn network of the plan with its initial weights; of its cuts the worst counts."""
    ways: dict[tuple[object, ...], Job] = {}
    for job in distinct(plan.jobs):
        config = job.config
        if config.strategy in TORN and config.n_subnetworks > 1:
            network = config.dataset, config.network, config.depth, config.width
            cuts = job.tearing.sizes, config.preprocess, config.coarse, config.n_coarse_units
            ways.setdefault((*network, *cuts), job)
    if not ways:
        return []
    names = labels(ways.values())
    cells = []
    for job in ways.values():
        label = names[job.config.trial_id]
        seen = _look(job, plan)
        worst = (
            f"{min(cut.variety for cut in seen):.3f}",
            f"{min(cut.likeness for cut in seen):.2f}",
            f"{max(cut.carried for cut in seen):.3g}",
            f"{max(cut.growth for cut in seen):.3g}",
        )
        cells.append((label, *worst))
    heading = "\nThe cuts before training, where they are worst: what C^j shows, what F^j carries\n"
    return [Text(heading, "bold"), Rows(SHOWN, cells)]


def hopeless(plan: Plan) -> list[RenderableType]:
    """What is known before training to fail, a sentence for each setting; nothing if none is."""
    jobs = distinct(plan.jobs)
    named = labels(jobs)
    blind = [job.config.trial_id for job in jobs if job.data.get("variety", 1.0) < BLIND]
    said = [
        f"{named[trial_id]}: do not train this. At a cut C^j(x) is the same for all samples, so that what "
        "reads it has nothing to learn from: pass --preprocess auto"
        for trial_id in blind
    ]
    return [Text("\n".join(said), "bold")] if said else []


def _look(job: Job, plan: Plan) -> list[Cut]:
    """With the initial weights, on the first images of the first epoch."""
    images = first_inputs(job.config, plan.data[data_key(job.config)])
    return diagnose(PararealNetwork(job.tearing).train(), images)
