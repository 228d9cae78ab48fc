"""Jobs on a Ray cluster: what travels there, and a job followed from here by its driver's log.

The driver there (cluster_driver.py) prints the journal's events among its log
(core/eventlines.py), so one connection to the dashboard is all that a follower needs; the archive
stays on the cluster.
"""
