"""Writing: what an INSERT or UPDATE needs to seal a value for its row."""
