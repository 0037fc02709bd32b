"""Surveys: looking at a table, and changing nothing.

=================  ==========================================
``scan``           reading it from end to end, or a sample
``stored_value``   what one value is, without a key
``census``         how many values are what
``column_census``  that, of one column
``index_check``    whether blind indexes are there, and right
``verify``         every value is opened
``dry_run``        what a run would have to do
``sweep``          whether a run has anything left to do
=================  ==========================================
"""
