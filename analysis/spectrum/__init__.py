"""Vibrational spectra of real-time trajectories."""
