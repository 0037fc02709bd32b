"""The cache in front of a key store.

================  ==============================================
``key_cache``     ``KeyCache``, which is asked once a value
``entries``       what it has: keys, and keys that are missing
``fetcher``       a key is fetched once for all who ask
``renewal``       keys in use are renewed before they expire
``confirmation``  keys that seal are confirmed every few seconds
``grace``         reads go on past a key's time in an outage
``outages``       what is known of one
``stats``         what is counted
================  ==============================================
"""
