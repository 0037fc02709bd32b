"""Fetching keys: on the caller's thread, or on threads beside an event loop.

===================  ===================================================
``runner``           where a fetch runs, and how its caller waits
``loop_runner``      the same for an ``AsyncEngine``
``threads``          the threads on which keys are fetched and unwrapped
``switch_interval``  keeps an event loop responsive meanwhile
===================  ===================================================
"""
