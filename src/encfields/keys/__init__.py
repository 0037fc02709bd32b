"""Branch keys: where they are kept, what wraps them, and the cache in front of them.

======================  =====================================================================
``store``               :class:`~encfields.keys.store.KeyStore`, the base class of all stores
``versions``            keys and their versions, as a store hands them on
``sql``, ``dynamodb``   the two stores that come with the library
``keyrings``            which wrapping keys protect branch keys, and wrapping with them
``cache``               keys at hand, fetched once, renewed, and how outages are survived
``fetching``            threads and event loops on which keys are fetched
``aws``                 clients of AWS, their time limits and their failures
``admin``, ``removal``  ``encryption.keys``, and what destroying a key asks for
``many``                ``encryption.keys.each(...)``
``coroutine_twins``     ``acreate()`` and its like, made of the blocking verbs
``forking``             what a forked child does without
======================  =====================================================================

What a key store of your own is made of is to be imported from here.
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
