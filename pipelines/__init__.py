"""The Prefect side: flows, steps and deployments; the only code that imports prefect."""
