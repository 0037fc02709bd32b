"""Autogenerate: a changed declaration becomes an operation, or a comment that says what to do.

==================  ========================================================
``compare``         goes through what Alembic has found, and asks the others
``sampled``         some stored values, and what their headers say
``binding_check``   whether they belong to their rows
``stored_binding``  how values are bound, if that is to be believed
``rebindings``      declarations that bind them otherwise
``inner_types``     declared types that cannot read them
``formerly``        changes that ``formerly=`` declares
``indexes``         blind indexes that are to be filled
``adoptions``       the next step of each adoption
==================  ========================================================
"""
