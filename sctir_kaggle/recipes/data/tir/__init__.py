"""Parts of `recipes.data.tir_data`: problems, attempts, their journal, statistics and rows."""
