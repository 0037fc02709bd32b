"""Branch keys in AWS's hierarchical key store, a DynamoDB table.

===============  ==============================================
``store``        ``DynamoDbKeyStore``
``table``        the table, and each thread's clients
``items``        the attributes of its items
``opened_keys``  keys opened by AWS's library
``removal``      destroys keys
``rewrap``       moves items to another KMS key
``export``       copies keys there from another store
``failures``     translates failures of AWS
===============  ==============================================
"""
