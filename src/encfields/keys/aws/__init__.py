"""Clients of AWS: how they are made, limited in time, and what their failures mean."""
