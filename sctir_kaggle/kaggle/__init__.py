"""From a checkpoint to a score at Kaggle: fetch, doctor, wheels, upload, notebook, push, submit."""
