"""Autogenerate: what is changed in a declaration becomes an operation, or is refused in words.

==================  ========================================================
``compare``         goes through what Alembic has found, and asks the others
``sampled``         some stored values, and what their headers say
``binding_check``   whether they belong to their rows
``stored_binding``  how values are bound, if that is to be believed
``rebindings``      declarations that bind them otherwise
``types``           declared types that cannot read them
``under_way``       changes that ``formerly=`` declares
``indexes``         blind indexes that are to be filled
``adoptions``       the next step of each adoption
==================  ========================================================
"""
