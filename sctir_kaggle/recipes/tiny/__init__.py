"""Make the embedded model from nothing by the recipes: `python -m sctir_kaggle.recipes.tiny --set output=DIR`."""
