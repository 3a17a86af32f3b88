"""Where the text comes from: one module an engine, each imported only by who uses it."""
