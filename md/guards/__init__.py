"""Guards that watch a run, and the ways in which a run ends."""
