"""The demo as a whole, as a user runs it."""
