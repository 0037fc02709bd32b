"""Branch keys: their stores, what wraps them, and the cache in front.

======================  =====================================================================
``store``               :class:`~encfields.keys.store.KeyStore`, the base class of all stores
``versions``            keys and their versions, as a store returns them
``sql``, ``dynamodb``   the two stores that come with the library
``keyrings``            the wrapping keys, and wrapping with them
``cache``               caches keys, renews them, and bridges outages
``fetching``            fetches keys on threads and beside event loops
``aws``                 clients of AWS, their time limits and their failures
``admin``, ``removal``  ``encryption.keys``, and the preconditions of destroying a key
``many``                ``encryption.keys.each(...)``
``coroutine_twins``     makes ``acreate()`` and others from the blocking verbs
``forking``             resets state in a forked child
======================  =====================================================================

Import from here what your own key store needs.
"""

from __future__ import annotations

from encfields.branch_key import BranchKey
from encfields.keys.store import KeyStore
from encfields.keys.versions import (
    BeaconKey,
    BeaconVersion,
    KeyVersion,
    RewrapReport,
    WrappedBeacons,
    WrappedKey,
)

__all__ = [
    "BeaconKey",
    "BeaconVersion",
    "BranchKey",
    "KeyStore",
    "KeyVersion",
    "RewrapReport",
    "WrappedBeacons",
    "WrappedKey",
]
