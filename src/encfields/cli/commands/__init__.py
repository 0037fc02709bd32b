"""The commands: one file each, or two for one with a long report."""
