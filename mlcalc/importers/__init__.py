"""Foreign checkpoints to mlcalc model files."""
