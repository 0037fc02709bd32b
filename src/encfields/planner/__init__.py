"""What blind indexes on real data would cost and give away: ``encfields index plan``.

====================  ====================================
``subjects``          which indexes are meant
``counting``          how often each value occurs
``stored_plaintext``  what a stored value is in plaintext
``plan``              what follows of that, and is advised
====================  ====================================
"""
