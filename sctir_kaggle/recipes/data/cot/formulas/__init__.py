"""Find the formulas of a page, by its glyphs or its ink, and have them read by a back end: Mathpix's API, or a program."""
