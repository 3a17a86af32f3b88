"""A run as one HTML page that needs no network: its figures, each problem, and the text, code and vote of each candidate."""
