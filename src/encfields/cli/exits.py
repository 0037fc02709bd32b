"""Exit statuses of the command. Scripts depend on them."""

from __future__ import annotations

OK = 0
"""Done; nothing is left to do."""

WORK_LEFT = 1
"""Values are in an older version, under a former key or in another format; or some of many keys
failed or were not tried."""

FAULTS = 2
"""Values do not open where they are: misplaced, damaged, plaintext, or failed to decrypt; or
a blind index would give them away."""

FAILED = 3
"""The question could not be answered: configuration, database, key store or KMS."""

USAGE = 64
"""The command line is wrong. (argparse's own 2 would be taken for :data:`FAULTS`.)"""

INTERRUPTED = 130
"""Stopped by Ctrl-C."""

EXIT_STATUSES = """\
exit status:
  0    done, nothing is left to do
  1    work is left: values in an older version, under a former key or in another format; or \
some of many keys failed or were not tried
  2    faults: values that are misplaced, under another key, damaged, plaintext or that do not \
decrypt; a blind index that would give its column away
  3    it could not be done: configuration, database, key store or KMS; stderr says what
  64   the command line is wrong
  130  interrupted
"""
