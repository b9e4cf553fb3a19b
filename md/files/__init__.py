"""What lies in a run folder, byte by byte: formats, none of which knows any dynamics."""
