"""Autogenerate turns a changed declaration into an operation, or a comment that says what to do.

==================  ========================================================
``compare``         the comparators, which call the others
``sampled``         samples stored values and reads their headers
``binding_check``   whether values belong to their rows
``stored_binding``  how values are bound, if headers can be trusted
``rebindings``      values bound otherwise than declared
``inner_types``     values that the declared inner type cannot read
``formerly``        values in a former state that ``formerly=`` declares
``indexes``         blind indexes to fill
``adoptions``       the next step of each adoption
==================  ========================================================
"""
