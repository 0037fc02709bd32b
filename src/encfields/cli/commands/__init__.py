"""The commands.

======================  ====================================
``status``              values by key version, without a key
``verify``              every value is opened
``inspect``             what one message says of itself
``reencrypt``           runs, and working at them
``adopt``               the steps of an adoption
``rebind_and_convert``  values follow a changed declaration
``keys``                looking after keys
``index_plan``          what a blind index would give away
``index_plan_report``   how that is shown
``doctor``              what would fail
``completion``          for shells
======================  ====================================
"""
