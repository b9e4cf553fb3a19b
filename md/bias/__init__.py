"""Bias: collective variables, potentials that act on them, and the potential with the bias added."""
