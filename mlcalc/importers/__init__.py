"""Other programs' checkpoints to model files, without those programs."""
