"""Beads of several atoms: mapping, all-atom liquids, the noise of mapped forces."""
