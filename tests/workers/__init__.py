"""Several processes of one gateway."""
