"""The Prefect side: flows, steps and deployments; the only code that imports prefect."""

import os

# Prefect reports its use, and says so on a terminal, when it is imported: this comes first.
os.environ.setdefault("DO_NOT_TRACK", "1")
