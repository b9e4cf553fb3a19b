"""Convert the output of i-PI into a run folder."""
