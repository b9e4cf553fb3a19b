"""Structures to learn from: engines that label, samples, minima."""
