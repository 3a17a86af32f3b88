"""The parts of `recipes.tir_data`: problems, attempts, their journal, statistics and rows."""
