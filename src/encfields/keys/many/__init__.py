"""One verb on many keys: selecting them, working on each, and the report.

==================  =====================================================
``many_keys``       ``encryption.keys.each(...)``
``worker_threads``  works on a few keys at a time
``destruction``     destroys keys, with one count and one wait for all
``report``          the result for each key
==================  =====================================================
"""

from __future__ import annotations
