"""Files, text, settings, threads and compiled code: nothing here knows an atom."""
