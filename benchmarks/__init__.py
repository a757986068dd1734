"""One measurement per file; each prints its rows and, as the last line, one JSON object."""
