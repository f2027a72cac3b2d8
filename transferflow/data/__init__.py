"""From files to batches: formats, splits, checks, snapshots, augmentation, loaders."""
