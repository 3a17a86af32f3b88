"""A run as one HTML page that needs no network: what it reached, each problem, each candidate's text, code and votes."""
