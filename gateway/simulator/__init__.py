"""Plays the outside: providers that sign, a key host, and a subscriber that fails now and then."""
