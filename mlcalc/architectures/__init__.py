"""Networks, a folder each."""
