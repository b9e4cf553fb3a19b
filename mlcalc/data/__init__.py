"""Structures for training: engines that label, sampling, relaxation."""
