"""Pages from templates: all text escaped, no name without a value, no control characters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from transferflow.report.wording import count, fraction, number
from transferflow.text import printable


def render_page(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template of this package; control characters of names in it are escapes."""
    environment = Environment(
        loader=PackageLoader("transferflow.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, fraction=fraction, number=number)
    return printable(environment.get_template(template).render(values))
