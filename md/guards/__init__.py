"""What a run looks out for while it moves, and how runs end."""
