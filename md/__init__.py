"""Ring-polymer molecular dynamics: state, laws, loop, run folder."""
