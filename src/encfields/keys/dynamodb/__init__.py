"""Branch keys in AWS's hierarchical key store, a DynamoDB table."""
