"""Queries: look-ups by blind index, and the refusal of what ciphertext cannot answer.

Comparisons in a statement, and how they are compiled:

=====================  =====================================================================
``comparator``         the operators of an encrypted column
``loaded_form``        an operand in the form in which values are loaded
``listed_by_query``    ``column.in_()`` of a UNION, DISTINCT or GROUP BY, or of columns
``comparison``         ``encrypted == value``
``compound_query``     ``blind(Patient, "who").matches(...)``
``criteria_lookups``   comparisons built without asking the column, in a WHERE or ON
``compiler_lookups``   the same anywhere else, during compilation
``bound_lists``        ``column = ANY(list)`` whose list is in one bind
``null_tests``         IS NULL of a value that is also looked up
``several_tenants``    a look-up in a list of tenants
``resolution``         which index answers a comparison
``versions_compared``  a comparison by the versions of a beacon key
``index_operand``      one side of a comparison
``joined_tenants``     whether two columns that are compared are of one tenant
``statement_scope``    the statements and conditions around a comparison
``operator_names``     names of operators in error messages
``operator_refusal``   an operator in a hybrid, refused when a statement uses it
=====================  =====================================================================

Values, and rows:

======================  ===============================================================
``lookup_type``         the type of a value that is looked up
``lookup_plan``         which binds of a statement are looked up, and which tell the tenant
``lookups``             hashes the values at each execution
``recheck_plan``        which rows to compare again after decryption
``alternatives``        the same where that is a part of an OR
``recheck_conditions``  what the rows are compared with
``recheck``             drops rows that do not match
======================  ===============================================================

What is refused:

===========================  ===========================================================
``refused_usage``            uses in a statement that ciphertext would answer wrongly
``refused_expressions``      uses in operators, functions, CAST and CASE
``refused_clauses``          uses in conditions, ORDER BY, GROUP BY, DISTINCT and UNION
``compared_branches``        two columns that a UNION, INTERSECT or EXCEPT would compare
``refused_parts``            index columns as they are, and whole rows as one value
``stored_bytes``             bytes of messages and hashes behind other types, names and functions
``application_sql``          those in what an application compiles itself
``raw_names``                columns that raw SQL names
``ciphertext_uses``          finds ciphertext in an expression, and its errors
``statement_elements``       iterates over all elements of a statement
``raw_order``                ORDER BY, GROUP BY and windows in raw SQL
``sorted_names``             which column a name in them means
``raw_operands``             functions, comparisons and DISTINCT in raw SQL
``grouping``                 whether rows and groups are distinct
``functional_dependencies``  which columns are determined by others
===========================  ===========================================================
"""
