"""What the doctor looks at: one small function a question, which yields findings and knows nothing of the others."""
