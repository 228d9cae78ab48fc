"""The inner loop of the simulation: continuous batching as vLLM V1 does it, in virtual time.

Written in the part of Python that numba compiles (``core/simulate.py`` does it where numba is
installed); without numba it runs as it is, some hundred times slower.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["run"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def run(
    at_s: Floats,
    prompt: Ints,
    output: Ints,
    first: int,
    last: int,
    concurrency: int,
    max_num_seqs: int,
    max_tokens: int,
    kv_tokens: int,
    prefix: int,
    linear_s: Floats,
    kv_s: float,
    attention_s: float,
    step_s: float,
    seq_s: float,
    noise: float,
    draws: Floats,
    deadline_s: float,
    token_offsets: Ints,
    token_s: Floats,
    first_s: Floats,
    end_s: Floats,
    facts: Ints,
) -> None:
    """Serve requests until those in ``first <= i < last`` have ended or the deadline passed.

    A step: running requests first, in order of admission (a decode takes one token of the budget,
    an unfinished prefill what is left of it); then waiting ones in order of arrival while there
    is a seat, budget and KV cache for their chunk. A running request without room for its tokens
    preempts the last of the running (possibly itself), which waits in front and is recomputed.
    Stretches in which every running request decodes and nobody can be admitted are one jump: the
    step time grows linearly with the context, so their sum is closed.

    Args:
        at_s: arrivals in order; in a closed loop written here.
        concurrency: 0 for an open loop.
        kv_tokens: tokens the KV cache holds beside the shared prefix of ``prefix`` tokens, which
            is resident and computed.
        linear_s: seconds of a step's linear layers and all-reduces by tokens, ``(max_tokens+1,)``.
        kv_s: seconds per token of context read by a decoding request.
        attention_s: seconds per (prompt token x context token) of a prefill.
        step_s: seconds a step in any case.
        seq_s: seconds a step per running request.
        noise: standard deviation of a step's time over its mean.
        draws: standard normal values, used in turn.
        token_offsets: where each request's tokens go in ``token_s``; empty: not kept.
        first_s: (out) first token; NaN where it did not come to that.
        end_s: (out) last token.
        facts: (out) steps, preemptions, KV tokens held at the end, most KV tokens held, requests
            running or waiting at the end, sum of steps x running.
    """
    n = len(at_s)
    keep = len(token_offsets) > 0
    own = np.maximum(prompt - prefix, 1)  # tokens of the prompt to compute and to hold
    target = own.copy()  # tokens to compute before the next one is emitted
    computed = np.zeros(n, np.int64)
    emitted = np.zeros(n, np.int64)
    running = np.zeros(max_num_seqs, np.int64)
    seats = 0  # running requests
    back = np.zeros(max_num_seqs + 1, np.int64)  # preempted, the next one at the top
    backs = 0
    arrived = 0 if concurrency == 0 else min(concurrency, n)  # in a closed loop: sent so far
    head = 0  # next request that never ran
    held = 0
    most = 0
    steps = 0
    occupied = 0
    preemptions = 0
    open_measured = last - first
    drawn = 0
    now = 0.0
    while open_measured > 0 and now < deadline_s:
        if concurrency == 0:
            while arrived < n and at_s[arrived] <= now:
                arrived += 1
        if seats == 0 and backs == 0 and head == arrived:
            if arrived >= n:
                break
            now = at_s[arrived]
            continue
        # a stretch of decodes with nobody to admit
        decoding = True
        ctx = 0
        shortest = 1 << 60
        for s in range(seats):
            i = int(running[s])
            if computed[i] < target[i]:
                decoding = False
                break
            ctx += int(computed[i])
            left = int(output[i] - emitted[i])
            if left < shortest:
                shortest = left
        if decoding and seats > 0:
            waiting = backs > 0 or head < arrived
            blocked = seats >= max_num_seqs
            if waiting and not blocked:
                i = int(back[backs - 1]) if backs > 0 else head
                chunk = min(int(target[i] - computed[i]), max_tokens - seats)
                blocked = chunk <= 0 or held + seats + chunk > kv_tokens
            if not waiting or blocked:
                k = min(shortest, (kv_tokens - held) // seats)
                base = linear_s[min(seats, max_tokens)] + step_s + seq_s * seats
                base += kv_s * (ctx + prefix * seats)
                slope = kv_s * seats
                if concurrency == 0 and not blocked and arrived < n and k > 1:
                    gap = at_s[arrived] - now
                    b = base - slope / 2
                    reach = gap / b
                    if slope > 0:
                        reach = (math.sqrt(b * b + 2 * slope * gap) - b) / slope
                    k = min(k, max(math.ceil(reach), 1))
                if k >= 1:
                    took = base * k + slope * k * (k - 1) / 2
                    if noise > 0:
                        took *= max(1 + noise * draws[drawn % len(draws)] / math.sqrt(k), 0.1)
                        drawn += 1
                    if keep:
                        nominal = base * k + slope * k * (k - 1) / 2
                        for j in range(k):
                            part = base * (j + 1) + slope * (j + 1) * j / 2
                            for s in range(seats):
                                i = int(running[s])
                                token_s[token_offsets[i] + emitted[i] + j] = (
                                    now + took * part / nominal
                                )
                    now += took
                    steps += k
                    occupied += k * seats
                    held += k * seats
                    most = max(most, held)
                    kept = 0
                    for s in range(seats):
                        i = int(running[s])
                        computed[i] += k
                        target[i] += k
                        emitted[i] += k
                        if emitted[i] >= output[i]:
                            end_s[i] = now
                            held -= int(computed[i])
                            computed[i] = 0
                            if first <= i < last:
                                open_measured -= 1
                            if concurrency > 0 and arrived < n:
                                at_s[arrived] = now
                                arrived += 1
                        else:
                            running[kept] = i
                            kept += 1
                    seats = kept
                    continue
        # one general step
        budget = max_tokens
        tokens = 0
        context = 0
        prefill = 0.0
        preempted = False
        s = 0
        while s < seats and budget > 0:
            i = int(running[s])
            chunk = min(int(target[i] - computed[i]), budget)
            if computed[i] >= target[i]:
                chunk = 1
            gone = False
            while held + chunk > kv_tokens:
                seats -= 1
                victim = int(running[seats])
                held -= int(computed[victim])
                computed[victim] = 0
                target[victim] = own[victim] + emitted[victim]
                back[backs] = victim
                backs += 1
                preemptions += 1
                preempted = True
                if victim == i:
                    gone = True
                    break
            if gone:
                break
            if computed[i] >= target[i]:
                context += int(computed[i]) + prefix
                target[i] += 1
            else:
                before = int(computed[i]) + prefix
                prefill += chunk * (before + chunk / 2)
            computed[i] += chunk
            held += chunk
            budget -= chunk
            tokens += chunk
            s += 1
        scheduled = s
        while (
            not preempted
            and scheduled == seats
            and seats < max_num_seqs
            and budget > 0
            and (backs > 0 or head < arrived)
        ):
            i = int(back[backs - 1]) if backs > 0 else head
            chunk = min(int(target[i] - computed[i]), budget)
            if held + chunk > kv_tokens:
                break
            if backs > 0:
                backs -= 1
            else:
                head += 1
            running[seats] = i
            seats += 1
            scheduled += 1
            prefill += chunk * (computed[i] + prefix + chunk / 2)
            computed[i] += chunk
            held += chunk
            budget -= chunk
            tokens += chunk
        if tokens == 0:
            break  # not one request fits the KV cache
        took = linear_s[min(tokens, max_tokens)] + step_s + seq_s * scheduled
        took += kv_s * context + attention_s * prefill
        if noise > 0:
            took *= max(1 + noise * draws[drawn % len(draws)], 0.1)
            drawn += 1
        now += took
        steps += 1
        occupied += scheduled
        most = max(most, held)
        kept = 0
        for s in range(seats):
            i = int(running[s])
            if s < scheduled and computed[i] >= target[i]:
                if keep:
                    token_s[token_offsets[i] + emitted[i]] = now
                if emitted[i] == 0:
                    first_s[i] = now
                emitted[i] += 1
                if emitted[i] >= output[i]:
                    end_s[i] = now
                    held -= int(computed[i])
                    computed[i] = 0
                    if first <= i < last:
                        open_measured -= 1
                    if concurrency > 0 and arrived < n:
                        at_s[arrived] = now
                        arrived += 1
                    continue
            running[kept] = i
            kept += 1
        seats = kept
    if concurrency == 0:  # arrived during the last stretch
        while arrived < n and at_s[arrived] <= now:
            arrived += 1
    facts[0] = steps
    facts[1] = preemptions
    facts[2] = held
    facts[3] = most
    facts[4] = seats + backs + arrived - head
    facts[5] = occupied
