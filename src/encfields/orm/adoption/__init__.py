"""A column that is being adopted: one attribute over a plaintext column and an encrypted one."""
