"""Run folders as MDAnalysis sees them, and their averages."""
