"""The players of the demo, each alone."""
