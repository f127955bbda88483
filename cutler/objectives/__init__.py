"""What pretraining predicts, one file an objective; they meet only tokens, and know no network."""
