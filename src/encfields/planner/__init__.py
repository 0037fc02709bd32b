"""What blind indexes on real data would cost and give away: ``encfields index plan``.

====================  ====================================
``subjects``          the indexes to judge
``counting``          how often each value occurs
``stored_plaintext``  the plaintext of a stored value
``plan``              the judgement and the advice
====================  ====================================
"""
