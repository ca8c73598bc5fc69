"""`--workers N`: N processes carry connections and streams, and ask this one, which decides and owns all state.

    Envoy == connection ==> worker (front.py): HTTP/2, messages, the exchange, every chunk of an answer
                               |  messages.py over a socket pair: ask, first token, end, counts
    listening ports, door.py   v
         the process that decides (desk.py): models, gate, endpoints, ledger, receipts, metrics, scraping, watches

With one worker none of this is there. Must stay true: every decision is made in one process on one state, so routing
is what it is with one worker; what a worker held is given back when it dies.
"""
