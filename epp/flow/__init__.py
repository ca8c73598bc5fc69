"""Who may go on now, who waits, who is refused.

`settings.py` names every bound; `queues.py`, `order.py` and `share.py` say who is next; `own.py` who has room, by what
is reckoned in seconds, or `rules.py`, by `saturation.py` as the Go picker does; `control.py` puts them together
without any clock; `gate.py` waits; `build.py` makes a gate of them.
"""
