"""Controls: what must not change bits, measured: running again, other neighbours, another position, the profiler.

They tell a change of reduction order, which every kernel library makes, from a bug. Each runs the same shape, hence the
same kernels. But a kernel may vary by itself, so a control speaks only of what noise cannot explain: neighbours and
position are compared module by module on equal inputs, unstable modules are left out, and a difference counts only
where it comes in every repeat. Whole runs are compared too, where the whole run repeats itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from tracediff.diff.words import listing
from tracediff.measure.bits import compare
from tracediff.measure.crossings import Crossing, Place
from tracediff.measure.noise import REPEATS, Noise, Rearranged, compare_arrangements, search_noise
from tracediff.measure.repair import kind
from tracediff.measure.replay import Recording, Replayed, compare_run, record, replay_outcomes
from tracediff.measured import Bits, Control
from tracediff.model.logits_hashes import logits_hashes

Run = Callable[[torch.Tensor], Sequence[torch.Tensor]]
"""Takes token ids (batch, tokens), returns the logits of each phase (batch, positions, vocabulary)."""

_NEIGHBOURS = 3
# Modules that send rows to experts: how many rows an expert gets, so the shape of its products, depends on the content
# of all rows. Other bits for other neighbours are then a change of order, as between batch sizes.
_ROUTING_CLASSES = ("moe", "expert", "router")


@dataclass(slots=True)
class Subject:
    """What the controls are run on.

    Attributes:
        model: The model.
        run: Runs it.
        prompt: Token ids (1, tokens) of the row that is compared.
        phases: Names of the phases.
        vocabulary: Neighbours are random tokens below it, seeded.
        recording: What batch 1 did.
        noise: By batch size, 1 among them; controls add what they find to vary.
        hashes: Hashes of the logits of each repeat of the whole run, by batch size.
        repeats: How often a whole run, or a difference, is repeated.
    """

    model: nn.Module
    run: Run
    prompt: torch.Tensor
    phases: Sequence[str]
    vocabulary: int
    recording: Recording
    noise: dict[int, Noise]
    hashes: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    repeats: int = REPEATS

    def repeats_itself(self, batch: int) -> bool:
        """Whether every repeat of the whole run gave the same logits, and no module varies."""
        runs = self.hashes[batch]
        return all(each == runs[0] for each in runs) and not self.noise[batch].varied

    @property
    def routing_modules(self) -> frozenset[str]:
        """Paths of the modules that send rows to experts, by the names of their classes."""
        return frozenset(
            name
            for name, module in self.model.named_modules()
            if name and any(word in type(module).__name__.lower() for word in _ROUTING_CLASSES)
        )


def run_to_run(subject: Subject, batches: Sequence[int]) -> Control:
    """Run each batch size several times; all rows of all logits must be equal, and no module may vary."""
    compared = f"{subject.repeats} runs each at batch {listing(map(str, batches))}, whole and module by module"
    first: str | None = None
    bits: list[Bits] = []
    for batch in batches:
        tokens = subject.prompt.repeat(batch, 1)
        kept = subject.run(tokens)
        runs = [logits_hashes(batch, subject.phases, kept)]
        for _ in range(subject.repeats - 1):
            logits = subject.run(tokens)
            hashes = logits_hashes(batch, subject.phases, logits)
            if hashes != runs[0]:
                pairs = zip(kept, logits, strict=True)
                bits += [each for each in (compare(a, b) for a, b in pairs) if not each.equal]
            runs.append(hashes)
        subject.hashes[batch] = runs
        if any(run != runs[0] for run in runs) and not subject.noise[batch].varied:
            search_noise(subject.model, partial(subject.run, tokens), subject.recording, subject.noise[batch])
        if first is None:
            first = _first_varying(subject, batch)
    if first is None:
        return Control(equal=True, compared=compared)
    return _differs(compared, first, bits)


def _first_varying(subject: Subject, batch: int) -> str | None:
    places = sorted(subject.noise[batch].places, key=_in_order_of_run(subject.recording))
    if places:
        phase, module = places[0]
        return f"batch {batch}, {subject.phases[phase]}, {module}"
    runs = subject.hashes[batch]
    for name in subject.phases:
        if len({run[f"{batch}/{name}"] for run in runs}) > 1:
            return f"batch {batch}, {name}"
    return None


def neighbours(subject: Subject, batches: Sequence[int]) -> Control:
    """Give the other rows other content; what each module makes of row 0 must not move."""
    return _control(
        subject,
        f"row 0 beside {_NEIGHBOURS} sets of random neighbours and beside copies of itself, in every stable module",
        [
            _Arrangement(
                batch=batch,
                words=f"batch {batch}, ",
                plain_tokens=subject.prompt.repeat(batch, 1),
                other_tokens=_with_neighbours(subject, batch, seed),
            )
            for batch in batches
            for seed in range(_NEIGHBOURS if batch > 1 else 0)
        ],
    )


def position(subject: Subject, batches: Sequence[int]) -> Control:
    """Look at the row first, in the middle and last among copies of itself; what is made of it must not move."""
    return _control(
        subject,
        "the row first, in the middle and last among copies of itself, in every stable module",
        [
            _Arrangement(
                batch=batch,
                words=f"batch {batch}, row {place}, ",
                plain_tokens=subject.prompt.repeat(batch, 1),
                other_tokens=subject.prompt.repeat(batch, 1),
                row=place,
            )
            for batch in batches
            for place in sorted({batch // 2, batch - 1} - {0})
        ],
    )


def profiler(recorded: Mapping[str, Sequence[str]] | None, subject: Subject) -> Control:
    """Compare the logits of the profiled process with those of this one, by their hashes.

    Args:
        recorded: Hashes by `batch/phase` from the profiled process, one per recording; None where it gave none.
        subject: With the hashes of the runs of this process, which no profiler watches.
    """
    compared = "logits of the recorded process and of one without the profiler, by hash"
    common = [(batch, key) for batch, runs in subject.hashes.items() for key in runs[0] if key in (recorded or {})]
    if not recorded or not common:
        return Control(equal=None, compared=compared, why="the recorded process reported no logits")
    differing = [(batch, key) for batch, key in common if {*recorded[key]} != {subject.hashes[batch][0][key]}]
    if not differing:
        return Control(equal=True, compared=compared)
    steady = [(batch, key) for batch, key in differing if subject.repeats_itself(batch) and len({*recorded[key]}) == 1]
    if steady:
        return Control(equal=False, compared=compared, first=steady[0][1], max_ulp=None)
    return Control(equal=None, compared=compared, why="the run does not repeat itself, with or without the profiler")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrangement:
    """One row in two arrangements: first among copies of itself; and beside others, or elsewhere among copies."""

    batch: int
    words: str
    plain_tokens: torch.Tensor
    other_tokens: torch.Tensor
    row: int = 0


def _control(subject: Subject, compared: str, arrangements: Sequence[_Arrangement]) -> Control:
    """Compare arrangements module by module, then whole runs where they repeat themselves."""
    doubtful: set[str] = set()
    for arrangement in arrangements:
        certain, uncertain = _differing_modules(subject, arrangement)
        doubtful |= uncertain
        if certain is not None:
            phase, module = certain
            differing = [bits for _, bits in _differing_logits(subject, arrangement)]
            return _differs(compared, f"{arrangement.words}{subject.phases[phase]}, {module}", differing)
    for arrangement in () if doubtful or subject.routing_modules else arrangements:
        found = _differing_logits(subject, arrangement)
        if found:
            suspect = _first_module_of_difference(subject, arrangement)
            first = f"{arrangement.words}{found[0][0]}" + (f", {suspect}" if suspect else "")
            return _differs(compared, first, [bits for _, bits in found])
    held_out = sum(len(subject.noise[batch].places) for batch in {arrangement.batch for arrangement in arrangements})
    why: str | None = None
    if not arrangements:
        why = "a single row has no neighbours"
    elif doubtful:
        why = _why_doubtful(subject, doubtful)
    elif held_out:
        # A module counts once for each phase and batch size in which it varies.
        varying = (
            "1 place varies by itself and was" if held_out == 1 else f"{held_out} places vary by themselves and were"
        )
        why = f"{varying} left out; all others gave equal bits"
    return Control(equal=True if why is None else None, compared=compared, why=why, held_out=held_out)


def _why_doubtful(subject: Subject, kinds: set[str]) -> str:
    """Say why a difference that was seen in modules of these kinds proves nothing."""
    varying = {kind(module) for noise in subject.noise.values() for _, module in noise.places}
    parts = []
    if listed := sorted(kinds & varying):
        parts.append(f"{', '.join(listed)} gave different bits, but varies by itself in other places")
    if listed := sorted(kinds - varying):
        parts.append(
            f"{', '.join(listed)} gave different bits, but with experts the shape of products depends on all rows"
        )
    return "; ".join(parts)


def _differs(compared: str, first: str, logits: Sequence[Bits]) -> Control:
    share, ulp = _extent(logits)
    return Control(equal=False, compared=compared, first=first, share=share, max_ulp=ulp)


def _differing_modules(subject: Subject, arrangement: _Arrangement) -> tuple[Place | None, set[str]]:
    """Return the first module that certainly changes the row's bits, and the kinds of those that perhaps do."""
    noise = subject.noise[arrangement.batch]
    routing = subject.routing_modules

    def is_doubted(crossing: Crossing, reshaped: frozenset[str]) -> bool:
        # What varies in one block may have been quiet in another, so the whole kind is doubted.
        unstable_kinds = {kind(module) for _, module in noise.places}
        return kind(crossing.maker) in unstable_kinds or _has_to_do_with(crossing.maker, routing | reshaped)

    result = _compare_modules(subject, arrangement, is_doubted)
    noise.add_varying(result.varied)
    certain = [crossing for crossing in result.differing if not is_doubted(crossing, frozenset())]
    uncertain = {*result.doubted, *result.differing} - {*certain}
    return certain[0].place if certain else None, {kind(crossing.maker) for crossing in uncertain}


def _has_to_do_with(module: str, others: Collection[str]) -> bool:
    """Whether a module is one of others, lies in one, or holds one."""
    return any(module == other or module.startswith(f"{other}.") or other.startswith(f"{module}.") for other in others)


def _compare_modules(
    subject: Subject, arrangement: _Arrangement, is_doubted: Callable[[Crossing, frozenset[str]], bool]
) -> Rearranged:
    def replayed(tokens: torch.Tensor, row: int) -> Replayed:
        def run() -> Sequence[torch.Tensor]:
            return subject.run(tokens)

        beside_copies = bool((tokens == subject.prompt).all())
        return replay_outcomes(subject.model, run, subject.recording, row=row, others_flow=not beside_copies)

    noise = subject.noise[arrangement.batch]
    return compare_arrangements(
        Replayed(row=dict(noise.row), shapes=noise.shapes),
        lambda: replayed(arrangement.plain_tokens, 0),
        lambda: replayed(arrangement.other_tokens, arrangement.row),
        is_doubted,
    )


def _differing_logits(subject: Subject, arrangement: _Arrangement) -> list[tuple[str, Bits]]:
    """Return the phases in which the row's logits differ, in every repeat, between the two arrangements.

    Empty, too, where the run does not repeat itself: then a difference of logits says nothing.
    """
    if not subject.repeats_itself(arrangement.batch):
        return []
    row = slice(arrangement.row, arrangement.row + 1)

    def compared() -> list[Bits]:
        plain = [logits[:1].clone() for logits in subject.run(arrangement.plain_tokens)]
        other = [logits[row] for logits in subject.run(arrangement.other_tokens)]
        return [compare(a, b) for a, b in zip(plain, other, strict=True)]

    bits = compared()
    for _ in range(0 if all(each.equal for each in bits) else subject.repeats - 1):
        bits = [a if not a.equal and b == a else Bits(equal=True) for a, b in zip(bits, compared(), strict=True)]
    return [(phase, each) for phase, each in zip(subject.phases, bits, strict=True) if not each.equal]


def _first_module_of_difference(subject: Subject, arrangement: _Arrangement) -> str | None:
    """Return the first module whose output for the row changes in the run itself."""
    if arrangement.row:
        return None
    recording = record(subject.model, lambda: subject.run(arrangement.plain_tokens), rows=1)
    places = compare_run(subject.model, lambda: subject.run(arrangement.other_tokens), recording)
    return next((name for (_, name), bits in places.items() if not bits.equal), None)


def _with_neighbours(subject: Subject, batch: int, seed: int) -> torch.Tensor:
    prompt = subject.prompt
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(subject.vocabulary, (batch - 1, prompt.shape[1]), generator=generator)
    return torch.cat([prompt, others.to(prompt.device)])


def _in_order_of_run(recording: Recording) -> Callable[[Place], int]:
    order = {place: number for number, place in enumerate(recording.places)}
    return lambda place: order.get(place, len(order))


def _extent(bits: Sequence[Bits]) -> tuple[float, int | None]:
    """Return the largest share and the largest distance in ULP; None where a distance, or everything, is unknown."""
    known = [each.max_ulp for each in bits if each.max_ulp is not None]
    largest = max(known) if known and len(known) == len(bits) else None
    return max((each.share for each in bits), default=0.0), largest
