"""Finding training rows that hold a validation problem: words, shared 10-grams, near texts, the report."""
