"""Traffic and latency: requests, how long they take, and OneHop itself."""

from __future__ import annotations

from helm.dashboards.panels import NS, RATE, Panel, Row, counted, quiet, rate, spread, troubles

ROWS = [
    Row(
        "Requests",
        [
            counted(
                "Requests by outcome",
                "Ended requests a second. Everything but completed, answered and superseded was refused or broke off.",
                "onehop_request_outcome_total",
                "outcome",
            ),
            Panel(
                "Error budget",
                "Requests that failed because of us, of all; the alerts burn a budget of 0.1 %.",
                "percentunit",
                [
                    (f"onehop:request_failures:ratio_rate5m{{{NS}}}", "{{namespace}}, 5 minutes"),
                    (f"onehop:request_failures:ratio_rate1h{{{NS}}}", "{{namespace}}, 1 hour"),
                    (f"onehop:request_failures:ratio_rate6h{{{NS}}}", "{{namespace}}, 6 hours"),
                ],
            ),
            troubles(
                "Errors",
                "Refusals by kind, and answers of 400 and above by model servers.",
                "llm_d_epp_request_error_total",
                "error_code",
            ),
        ],
    ),
    Row(
        "Latency",
        [
            spread(
                "Time to first token",
                "From the whole request to the first answer byte we see.",
                "llm_d_epp_request_ttft_seconds",
            ),
            Panel(
                "Slow first tokens",
                "Of all, those that took longer than 2 s; the alerts burn a budget of 5 %.",
                "percentunit",
                [
                    (f"onehop:slow_first_tokens:ratio_rate5m{{{NS}}}", "{{namespace}}, 5 minutes"),
                    (f"onehop:slow_first_tokens:ratio_rate1h{{{NS}}}", "{{namespace}}, 1 hour"),
                ],
            ),
            spread(
                "Duration", "From the whole request to the end of its answer.", "llm_d_epp_request_duration_seconds"
            ),
            spread(
                "Seconds a token",
                "Of streams, between one token and the next, by model.",
                "llm_model_tpot_seconds",
                "model",
                parts=(0.5, 0.95),
            ),
            spread(
                "Where the time of a request goes",
                "Our own steps: its body, the model, the wait for room, the endpoint.",
                "onehop_phase_seconds",
                "phase",
                parts=(0.99,),
                where='phase=~"gather|choose|wait|pick"',
            ),
            Panel(
                "Tokens",
                "As the model servers count them, where answers are read.",
                "short",
                [
                    (f"sum(rate(llm_d_epp_request_input_tokens_sum{{{NS}}}{RATE}))", "prompt"),
                    (f"sum(rate(llm_d_epp_request_cached_tokens_sum{{{NS}}}{RATE}))", "prompt, from a prefix cache"),
                    (f"sum(rate(llm_d_epp_request_output_tokens_sum{{{NS}}}{RATE}))", "generated"),
                ],
            ),
        ],
    ),
    Row(
        "OneHop itself",
        [
            Panel(
                "Open ext_proc streams",
                "Of 40,000 by default.",
                "short",
                [(f"llm_d_epp_extproc_streams_inflight{{{NS}}}", "{{pod}}")],
            ),
            counted(
                "ext_proc streams by end",
                "Canceled is a client that left, or a gateway that needs no more of us.",
                "llm_d_epp_extproc_streams_total",
                "code",
            ),
            Panel(
                "What an operator must know",
                "1 while a condition holds; /debug/pools has the words.",
                "short",
                [(f"max by (pod, condition) (onehop_condition{{{NS}}})", "{{pod}} {{condition}}")],
            ),
            Panel(
                "Defects survived",
                "In the time shown; please report them.",
                "short",
                [(quiet(f"sum by (type) (increase(onehop_surprise_total{{{NS}}}[$__range]))"), "{{type}}")],
                "stat",
            ),
            Panel(
                "Reloads",
                "Files read anew in the time shown; after a failure the one before stays.",
                "short",
                [(f"sum by (file, result) (increase(onehop_reload_total{{{NS}}}[$__range]))", "{{file}}, {{result}}")],
                "stat",
            ),
            Panel(
                "Receipts and spans",
                "What became of them.",
                "short",
                [
                    (rate("onehop_receipt_total", "fate"), "receipts, {{fate}}"),
                    (quiet(rate("onehop_span_total", "fate")), "spans, {{fate}}"),
                ],
            ),
        ],
    ),
]
