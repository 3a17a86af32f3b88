"""From a PDF to training rows: pages, pairs of problem and solution, what a model rewrites, uniform rows."""
