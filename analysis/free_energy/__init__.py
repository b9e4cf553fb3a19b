"""Free energies along a variable, from runs with a bias."""
