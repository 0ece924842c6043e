"""HTML from the templates beside this module, and charts as part of it.

Whatever comes from a store is escaped by the templates.
"""

import re
from io import StringIO

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.chart import Chart, Panel

TEMPLATES = Environment(
    loader=PackageLoader("analysis"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def fill(template: str, **values: object) -> Markup:
    """Fill one of the templates; whatever is not markup is escaped."""
    return Markup(TEMPLATES.get_template(template).render(**values))


def draw(name: str, chart: Chart) -> Markup:
    """A chart as figures that stand beside one another where there is room.

    Args:
        name: of the chart, unique in the page.
        chart: what to draw.
    """
    panels = [(panel.title.splitlines(), svg(f"{name}{i}", panel)) for i, panel in enumerate(chart.panels)]
    return fill("chart.html", panels=panels, note=chart.note)


def svg(name: str, panel: Panel) -> Markup:
    """A panel as an ``svg`` element, which takes the page's font and the width that there is.

    Args:
        name: unique in the page; all ids begin with it.
        panel: what to draw.
    """
    file = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        no_metadata = dict.fromkeys(["Creator", "Date", "Format", "Type"])
        panel.figure().savefig(file, format="svg", transparent=True, metadata=no_metadata)
    _, _, element = file.getvalue().partition("<svg ")
    element = re.sub(r' (width|height)="[\d.]+pt"', "", element, count=2)
    element = re.sub(r'( id="|url\(#|href="#)', rf"\1{name}-", element)
    element = re.sub(r"<!--.*?-->", "", element, flags=re.DOTALL)
    return Markup('<svg role="img" aria-label="{}" ').format(panel.title) + Markup(element)
