"""What networks have learned of a chain of beads: which residues they join, and what another type of a bead would change."""
