"""Surveys read a table and change nothing.

=================  ==========================================
``scan``           reads it whole, or a sample
``stored_value``   classifies one value, without a key
``census``         counts values by what they are
``column_census``  the counts of one column
``index_check``    finds missing and wrong blind indexes
``verify``         opens every value
``dry_run``        what a run would do
``sweep``          whether a run has work left
=================  ==========================================
"""
