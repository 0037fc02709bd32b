"""Runs: recorded in the database, worked on by any number of processes.

Stored in the database:

==============  ================================================
``tables``      the three tables
``run_row``     their rows, validated: anybody may have written them
``sealed_job``  a run's job and its end, sealed
``store``       whole runs: record, pause, end, count
``ranges``      parts of the table that workers claim
==============  ================================================

Working on them:

======================  ========================================================
``coordinator``         starts, watches and replaces worker processes
``worker_setup``        how they get the engine and the keys
``loop``                one worker's ranges, passes and end
``worker``              works through a range, batch by batch
``batch_commit``        a batch and its checkpoint, in one transaction
``garbage_collection``  fewer collections during a run
``pacing``              throttle and reasons to pause
``signals``             SIGINT and SIGTERM
======================  ========================================================

Reporting on them:

====================  =====================================
``progress``          calls back with a run's progress
``progress_display``  shows it in a terminal or a log file
``report``            the results of runs and surveys
====================  =====================================
"""
