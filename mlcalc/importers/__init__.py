"""Conversion of other programs' checkpoints to model files, without those programs."""
