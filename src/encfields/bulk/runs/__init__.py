"""Runs: recorded in the database, worked at by any number of processes, and told of.

How they stand in the database:

==============  ================================================
``tables``      the three tables
``run_row``     their rows, which anybody may have written
``sealed_job``  what a run does, and how it ended, sealed
``store``       a run as a whole: set up, paused, ended, counted
``ranges``      the parts of it that workers claim
==============  ================================================

How they are worked at:

======================  ========================================================
``coordinator``         worker processes: started, watched, replaced
``worker_setup``        how they come to the engine and the keys
``loop``                one of them: ranges one after the other, passes, the end
``worker``              a range, batch by batch
``batch_commit``        a batch and its checkpoint, in one transaction
``garbage_collection``  which Python does less often meanwhile
``pacing``              how fast it may be, and what it pauses for
``signals``             SIGINT and SIGTERM
======================  ========================================================

What is told of them:

====================  =====================================
``progress``          how far a run is
``progress_display``  that in a terminal, and in a log file
``report``            what became of it
====================  =====================================
"""
