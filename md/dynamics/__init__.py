"""The ring polymer and its laws of motion."""
