"""Branch keys in AWS's hierarchical key store, a DynamoDB table.

===============  ==============================================
``store``        ``DynamoDbKeyStore``
``table``        the table, and what a thread needs to reach it
``items``        its items, attribute by attribute
``opened_keys``  keys, opened by AWS's own library
``removal``      keys are destroyed
``rewrap``       items move to another KMS key
``export``       keys are copied there from another store
``failures``     what a failure of AWS means
===============  ==============================================
"""
