"""Structures from files: elements, positions, labels, units, charge and spin."""
