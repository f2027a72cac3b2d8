"""What a user can say. Loads no torch."""

from transferflow.spec.experiment import ExperimentSpec

__all__ = ["ExperimentSpec"]
