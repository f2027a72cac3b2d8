"""The `tracking` section: where a training can be watched while it goes on."""

from __future__ import annotations

from transferflow.spec.sections.base import Flag, Section


class Tracking(Section):
    """Who is shown the curves while the training goes on; never part of a stage's key."""

    mlflow: Flag = True
    """Losses, metrics and rates reach the registry's MLflow during the training, in the run that becomes the
    version's; `false`: only when it is registered."""
    tensorboard: Flag = False
    """Write event files for `tensorboard --logdir HOME/tensorboard`; needs
    `pip install 'transferflow[tensorboard]'`."""
