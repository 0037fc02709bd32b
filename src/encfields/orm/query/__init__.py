"""Asking: look-ups by blind index, and the refusal of what ciphertext cannot answer."""
