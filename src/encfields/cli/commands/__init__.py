"""The commands.

======================  ====================================
``status``              values by key version, without a key
``status_beacons``      whether the keys of blind indexes are there
``verify``              opens every value
``inspect``             shows a message's header
``reencrypt``           runs, and work on them
``adopt``               the steps of an adoption
``rebind_and_convert``  moves values after a changed declaration
``keys``                administers keys
``index_plan``          what a blind index would give away
``index_plan_report``   its report
``doctor``              checks for what would fail
``completion``          scripts for shells
======================  ====================================
"""
