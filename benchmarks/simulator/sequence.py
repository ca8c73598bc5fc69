"""What a replica is asked to generate (`Job`), and how far it is (`Sequence`)."""

from dataclasses import dataclass, field
from enum import Enum, auto

from benchmarks.simulator.blocks import Block


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt and the answer that the model will give, in tokens."""

    prompt_tokens: int
    output_tokens: int
    block_hashes: tuple[int, ...] = ()
    """Hashes of the full blocks of prompt and answer, first block first, each one covering all tokens before it too.
    Blocks beyond the end of the tuple are never shared."""
    adapter: str | None = None
    """The LoRA adapter, or None for the base model."""

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1:
            raise ValueError(f"prompt_tokens must be at least 1, got {self.prompt_tokens}")
        if self.output_tokens < 1:
            raise ValueError(f"output_tokens must be at least 1, got {self.output_tokens}")


class State(Enum):
    """Where a sequence is in its life."""

    ARRIVED = auto()
    """Handed in; the engine has not looked yet."""
    WAITING = auto()
    """In the queue, for the first time or after a preemption."""
    PREFILLING = auto()
    """Running, its prompt (and what it generated before a preemption) not computed yet."""
    DECODING = auto()
    """Running, one token a step."""
    FINISHED = auto()
    ABORTED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """One job inside a replica. Read it freely; only the replica writes. Times are the `now` of the calls, seconds."""

    job: Job
    arrived_at: float
    state: State = State.ARRIVED
    cached_tokens: int = 0
    """Prompt tokens found in the prefix cache when first admitted."""
    preemptions: int = 0
    first_token_at: float | None = None
    last_token_at: float | None = None
    """When the last token came; not kept up to date while decoding."""
    finished_at: float | None = None

    generated: int = 0
    """Tokens generated, as of joining or leaving the decode batch; `Replica.generated` has the current number."""
    slots: int = 0
    """Tokens with a place in the KV cache, as of joining or leaving the decode batch."""
    blocks: list[Block] = field(default_factory=list)
    published: int = 0
    """Leading blocks that were offered to the prefix cache, or came from it."""
    admission: int = 0
    """Place in the order of admissions, which is the order of running."""
    joined_step: int = 0
    """Steps that the decode batch had completed when this one joined."""

    @property
    def tokens(self) -> int:
        """Tokens to compute before the next one can be generated."""
        return self.job.prompt_tokens + self.generated
