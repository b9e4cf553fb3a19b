"""File formats of a run folder, independent of the dynamics."""
