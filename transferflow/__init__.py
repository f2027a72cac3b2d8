"""transferflow: commit a spec, get a trained, measured, explained and promoted vision model."""

__version__ = "0.1.0"
