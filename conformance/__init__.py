"""Values of encfields in AWS's other SDKs: what each reads, writes and refuses. See README.md."""
