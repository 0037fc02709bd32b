"""Asking: look-ups by blind index, and the refusal of what ciphertext cannot answer.

What an application writes, and its answer as the statement is compiled:

=====================  =====================================================================
``comparator``         the operators of an encrypted column
``loaded_form``        a value in the form in which it is loaded
``comparison``         ``encrypted == value``
``compound_query``     ``blind(Patient, "who").matches(...)``
``criteria_lookups``   what SQLAlchemy builds without asking the column, in a WHERE or ON
``compiler_lookups``   the same wherever else it stands, as it is compiled
``null_tests``         IS NULL of a value that is looked up as well
``several_tenants``    a look-up in a list of tenants
``resolution``         which index answers a comparison
``index_operand``      one side of it
``statement_scope``    the statements and conditions around it
=====================  =====================================================================

Values, and rows:

================  =====================================================================
``lookup_type``   a value that is looked up
``lookup_plan``   which binds of a statement are such values, and which tell the tenant
``lookups``       how the values are hashed, at each execution
``recheck_plan``  which rows are compared again after decryption
``recheck``       those that were not asked for are left out
================  =====================================================================

What is refused:

===========================  ===========================================================
``refused_usage``            uses in a statement that ciphertext would answer wrongly
``refused_expressions``      those in operators, functions, CAST and CASE
``refused_clauses``          those in conditions, ORDER BY, GROUP BY, DISTINCT and UNION
``refused_parts``            index columns as they are, and whole rows as one value
``application_sql``          those in what an application compiles itself
``raw_names``                the columns that raw SQL names
``ciphertext_uses``          finding them, and their errors
``statement_elements``       every element of a statement, to look through
``raw_order``                the same in raw SQL
``raw_operands``             what functions, comparisons and DISTINCT are given in raw SQL
``grouping``                 what makes rows and groups distinct
``functional_dependencies``  which columns are determined by others
===========================  ===========================================================
"""
