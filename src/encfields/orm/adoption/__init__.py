"""Adoption: one attribute for a plaintext column and the encrypted one that replaces it.

=======================  ====================================================
``plaintext``            ``Plaintext``, the declaration
``columns``              the plaintext column, appended to the table
``writes``               writes both columns
``unsealed``             names statements that write only the plaintext
``reads``                reads one or the other
``expressions``          expressions over the plaintext
``comparisons``          look-ups in rows with an index, and in those without
``plain_operand``        values compared with the plaintext
``text_form``            plaintext as bytes, the same on every driver
``triggers``             triggers that keep a row's state consistent
``refusals``             what triggers refuse, and the errors for it
``trigger_notes``        what a trigger's text records about its adoption
``create_all_triggers``  triggers on tables of ``create_all()``
=======================  ====================================================
"""
