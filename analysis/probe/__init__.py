"""Local chemical potentials of a network: energies of probe atoms around a molecule."""
