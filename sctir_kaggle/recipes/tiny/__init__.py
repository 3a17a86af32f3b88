"""The embedded model, made from nothing by the recipes: `python -m sctir_kaggle.recipes.tiny --set output=DIR`."""
