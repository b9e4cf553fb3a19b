"""Files, text, settings, threads and compiled code: nothing here depends on atoms."""
