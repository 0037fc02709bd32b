"""One verb on many keys: which are meant, the work on each by itself, and what became of them.

==================  =====================================================
``many_keys``       ``encryption.keys.each(...)``
``worker_threads``  the work, a few keys at a time
``destruction``     destroying, where all are counted and waited for once
``report``          what became of each key
==================  =====================================================
"""

from __future__ import annotations
