"""Clients of AWS: how they are made, limited in time, and what their failures mean.

================  ====================================================
``clients``       clients, and the data that they share
``deadline``      a time limit for a request, its repetitions included
``kms_calls``     what happened at KMS during a wrap or unwrap
``kms_requests``  requests, for those who count them
================  ====================================================
"""
