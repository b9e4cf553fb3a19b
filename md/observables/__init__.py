"""What is measured: estimators, averages and their errors."""
