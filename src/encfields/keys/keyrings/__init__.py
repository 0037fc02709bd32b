"""Keyrings: which wrapping keys protect the branch keys, and wrapping with them.

======================  ============================================
``keyring``             what a keyring is
``aws_kms``, ``local``  those that there are
``wrapping``            a branch key wrapped for storage, and opened
``rewrap``              wrapped keys moved to another keyring
======================  ============================================
"""
