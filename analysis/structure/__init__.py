"""Molecules, bonds, cages and boxes of structures."""
