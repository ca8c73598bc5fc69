"""Who may go on now, who waits, who is refused.

`settings.py` names every bound; `queues.py`, `order.py` and `share.py` say who is next; `rules.py` who has room, by
`forecast.py` or `saturation.py`; `control.py` puts them together without any clock; `gate.py` waits.
"""
