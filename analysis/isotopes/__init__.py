"""Isotope effects: what replacing atoms by heavier ones does to free energies."""
