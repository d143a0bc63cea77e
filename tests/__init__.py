"""The tests. One folder for each room of the house, named as it is."""
