"""A column that is being adopted: one attribute over a plaintext column and an encrypted one.

=======================  ====================================================
``plaintext``            ``Plaintext``, the declaration
``columns``              the plaintext column, appended to the table
``writes``               both are written
``reads``                the one or the other is read
``expressions``          expressions over the plaintext
``comparisons``          look-ups in rows with an index, and in those without
``plain_operand``        what the plaintext is compared with
``text_form``            plaintext as bytes, the same on every driver
``triggers``             what keeps a row's state true
``trigger_notes``        what a trigger's text says of its adoption
``create_all_triggers``  triggers on tables of ``create_all()``
=======================  ====================================================
"""
