"""The doctor's checks: one small function for each question, which yields findings and knows nothing of the others."""
