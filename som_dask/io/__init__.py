"""Files and stores: models, checkpoints, the registry, the log of events."""
