"""Run folders as MDAnalysis universes, and their averages."""
