"""The register stage: comparison, verdict, report and version. The gate itself is `transferflow.registry`."""
