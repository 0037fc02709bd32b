"""Where keys are fetched: on the caller's thread, or on threads beside an event loop."""
