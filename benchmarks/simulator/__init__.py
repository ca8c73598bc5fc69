"""A simulated model server: it answers like vLLM and takes as long as vLLM would, and computes nothing.

Two halves. The replica model (`profiles`, `config`, `sequence`, `blocks`, `kvcache`, `decode`, `scheduler`, `replica`,
`stats`) is pure: it is given `now` and returns what happens, so that a virtual clock and an asyncio clock can drive the
same code. The server puts it behind HTTP on loopback addresses: `prompt`, `openai`, `answer`, `exposition` turn bytes
into values and back, `driver` is the asyncio clock, `server` the routes, `spec`, `member` and `fleet` the processes
that it plays. Front doors: `replica.Replica` for virtual time, `fleet.SimulatedFleet` in Python, and by hand
`python -m benchmarks.simulator --help`.

Modelled, after the V1 scheduler of vLLM (`vllm/v1/core/sched`): one token budget a step, running sequences first
(one token each, or the next chunk of a prompt), then the waiting queue in order of arrival while budget, sequence
limit and KV cache allow and nothing was preempted in the step; chunked prefill; KV blocks of 16 tokens; a prefix cache
of chained block hashes that includes generated tokens, at most all but one token of a prompt, with freed blocks as
hits until they are reused, least recently used and tails first; a request that finds no room stays at the head;
preemption of the last running sequence, to the front of the queue, recomputed later; distinct LoRA adapters at a
time; metrics as of the end of the last step; the duration of a step as a function of its tokens, contexts and
sequences.

Not modelled: the text (answers are filler), a tokenizer (a token is four bytes), sampling parameters, speculative
decoding, encoder inputs, tensor or data parallelism, KV transfer and offload, LoRA loading time, start-up time (a
workload may make the first seconds of a replica slow: `Replica.slowdown`), time spent in the API server,
`long_prefill_token_threshold`, priority scheduling, jitter of step times. Three
simplifications inside what is modelled: prefix-cache counters count a request once, when it is first admitted (vLLM
counts every attempt); a block computed twice is indexed once, and its copy is empty, not a hit, when freed; a block
that fills during decoding becomes a hit one step later.

Time constants and their sources are in `profiles`. They are estimates for dense bf16 models on one GPU; the L4 and
Phi-4-mini rows are derived, not measured. This is a simulation: results say how policies compare on it.
"""
