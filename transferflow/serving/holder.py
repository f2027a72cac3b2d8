"""The model that is served, exchanged as a whole when another one takes its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transferflow.errors import TransferflowError
from transferflow.logs import get_logger
from transferflow.tasks.bundle import Bundle

logger = get_logger("serving")


@dataclass(frozen=True)
class Served:
    """A loaded model.

    Attributes:
        identity: Which one it is: the URI of its version, or its folder.
        bundle: The model.
    """

    identity: str
    bundle: Bundle


class ModelHolder:
    """Holds the model; whoever works with one keeps it until it is done.

    Args:
        identify: Which model goes by the name now.
        load: Loads it.

    Raises:
        TransferflowError: If there is none, or it can't be loaded.
    """

    def __init__(self, identify: Callable[[], str], load: Callable[[], Served]) -> None:
        self._identify = identify
        self._load = load
        self.current = load()

    def refresh(self) -> bool:
        """Load another model where the name leads to one now; where that fails the old one stays.

        Returns:
            Whether another model is served from now on.
        """
        try:
            if self._identify() == self.current.identity:
                return False
            self.current = self._load()
        except TransferflowError as error:
            logger.warning("serve: the model stays %s: %s", self.current.identity, error.problems[0].what)
            return False
        logger.info("serve: the model is %s from now on", self.current.identity)
        return True
