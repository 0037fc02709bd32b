"""The cache in front of a key store.

================  ==============================================
``key_cache``     ``KeyCache``, used once per value
``entries``       cached keys, and keys known to be missing
``fetcher``       fetches a key once for all callers
``renewal``       renews keys in use before they expire
``confirmation``  confirms sealing keys every few seconds
``grace``         reads past a key's time in an outage
``outages``       tracks outages
``stats``         counters
================  ==============================================
"""
