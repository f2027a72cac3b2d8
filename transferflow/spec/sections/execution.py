"""The `execution` section: on what the stages compute, where that is not the machine of the run alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, StrictStr, StringConstraints, Tag

from transferflow.spec.sections.base import ChosenByKey, Section
from transferflow.spec.wording import Words

SchedulerAddress = Annotated[
    StrictStr,
    StringConstraints(pattern=r"^(tcp|tls)://[A-Za-z0-9._\-\[\]:]+:\d{1,5}$"),
    Words("the address of a Dask scheduler, as in tcp://10.0.0.7:8786"),
]


class HerePreparation(Section):
    """Images are opened on the machine of the run."""

    kind: Literal["here"] = "here"
    """On the machine of the run."""


class DaskPreparation(Section):
    """Images of large sets are opened on the workers of a Dask cluster, which see data and home, too."""

    kind: Literal["dask"]
    """On a Dask cluster."""
    address: SchedulerAddress
    """Address of its scheduler."""


Preparation = Annotated[
    Annotated[HerePreparation, Tag("here")] | Annotated[DaskPreparation, Tag("dask")],
    Discriminator(ChosenByKey("kind", default="here")),
]


class Execution(Section):
    """On what the stages compute; results are the same."""

    prepare: Preparation = HerePreparation()
    """Who opens the images of a data set."""
