"""Vibrational spectra of trajectories in real time."""
