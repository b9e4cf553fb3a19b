"""Estimators, averages and their errors."""
