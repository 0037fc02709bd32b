"""Reading: ciphertext delivered with the key of its row, and opened."""
