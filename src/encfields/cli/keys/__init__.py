"""``encfields keys``: one file for each of its verbs, or for two that are alike."""
