"""From a checkout to Kaggle: paths, doctor, notebook, wheels, push."""
