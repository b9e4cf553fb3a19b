"""Potentials that are sums: slow components on fewer beads and at fewer steps than the fast one."""
