"""What may stand where in a spec, and how one is laid over another: `extends` and `--set`."""
