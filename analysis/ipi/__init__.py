"""What i-PI has written, as a run folder."""
