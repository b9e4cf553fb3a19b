"""Cells, pairs, neighbours, and checks of structures against the domain of a model."""
