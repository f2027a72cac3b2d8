"""The train stage: key, model, job and bundle. The loop itself is `transferflow.training`."""
