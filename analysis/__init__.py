"""From run folders to numbers with error bars and figures."""
