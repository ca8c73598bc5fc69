"""Other routers, as their projects ship them, run beside ours: a claim about one needs a run in which it took part.

Each rival is a file here: how its program is started in front of the same model servers, how it says that it is ready,
its policies, and the settings that its own documentation gives. None is a dependency: `make rivals` installs them, as
pinned in `constraints.txt`, into an environment of their own. `onehop bench live --rival NAME[:POLICY]` is the front
door; `python -m benchmarks.rivals` plays what `benchmarks/results/rivals.md` shows.
"""
