"""Energies that networks give to single atoms, by environment, and how far networks agree on them."""
