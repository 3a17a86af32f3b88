"""What only Kaggle needs: where its inputs are, whether a machine can run this, and how a notebook version gets there."""
