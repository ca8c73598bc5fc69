"""`onehop bench live`: real requests through real processes, and what a picker in their way adds.

One run holds several *targets*: chains of a real Envoy with a picker behind it or with none, or any URLs. A *case* is a
kind of load. A *slice* plays one case against one target, and the targets take turns, slice by slice, so that what else
this machine does meanwhile falls on all alike. The load generators are processes of their own (`python -m
benchmarks.live.load`); they say how much CPU they needed and how late they were.
"""
