"""Tokens per second of llama.cpp, through llama-cpp-python, as llama-bench prints them in JSON.

`cargo xtask bench --peer python` runs it. A prompt is decoded in batches of 512 tokens with the logits of the last token
alone; a generation token by token. Keys, values and flash attention are as llama.cpp has them where nothing is asked for.
"""

import argparse
import ctypes
import json
import platform
import statistics
import sys
import time
from datetime import datetime, timezone

import llama_cpp

BATCH = 512
ERROR = 4  # GGML_LOG_LEVEL_ERROR
KV_TYPES = {llama_cpp.GGML_TYPE_F32: "f32", llama_cpp.GGML_TYPE_F16: "f16"}

complaints = []


@llama_cpp.llama_log_callback
def log(level, text, _):
    if level == ERROR:
        complaints.append(text.decode(errors="replace").strip())


def fail(what):
    # The first complaint says why; those after it, what that kept llama.cpp from.
    raise SystemExit("error: " + ": ".join([what, *complaints[:1]]).replace("\n", " "))


class Context:
    """A model with a context of some tokens."""

    def __init__(self, path, tokens, threads):
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            fail(f"{path} cannot be loaded")
        params = self.params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = tokens, BATCH, BATCH
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            fail(f"{path} has no context of {tokens} tokens")
        vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        # Any tokens do; these are spread over the vocabulary, as text's are.
        self.ids = [i * 7919 % vocab for i in range(tokens)]

    def description(self):
        text = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.model, text, len(text))
        return text.value.decode(errors="replace")

    def decode(self, ids):
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        status = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(tokens, len(ids)))
        if status != 0:
            fail(f"llama_decode returned {status}")

    def prompt(self, count):
        for start in range(0, count, BATCH):
            self.decode(self.ids[start : min(start + BATCH, count)])
        llama_cpp.llama_synchronize(self.context)

    def generate(self, count):
        for id in self.ids[:count]:
            self.decode([id])
            llama_cpp.llama_synchronize(self.context)

    def rewind(self, tokens):
        """Forgets all tokens but the first."""
        memory = llama_cpp.llama_get_memory(self.context)
        if not llama_cpp.llama_memory_seq_rm(memory, 0, tokens, -1):
            fail("keys and values cannot be taken back")


def measure(context, work, count, warm_up, depth, repetitions):
    """Nanoseconds of each repetition, after some tokens that do not count."""
    work(warm_up)
    samples = []
    for _ in range(repetitions):
        context.rewind(depth)
        start = time.perf_counter_ns()
        work(count)
        samples.append(time.perf_counter_ns() - start)
    context.rewind(depth)
    return samples


def row(context, given, prompt, generation, samples):
    speeds = [(prompt + generation) * 1e9 / ns for ns in samples]
    deviation = lambda values: statistics.stdev(values) if len(values) > 1 else 0.0
    return {
        "build_commit": llama_cpp.__version__,
        "build_number": 0,
        "cpu_info": platform.processor(),
        "system_info": llama_cpp.llama_print_system_info().decode().strip(" |"),
        "backends": "CPU",
        "model_filename": given.model,
        "model_type": context.description(),
        "model_size": llama_cpp.llama_model_size(context.model),
        "model_n_params": llama_cpp.llama_model_n_params(context.model),
        "n_batch": BATCH,
        "n_ubatch": BATCH,
        "n_threads": given.threads,
        "type_k": KV_TYPES.get(context.params.type_k, str(context.params.type_k)),
        "type_v": KV_TYPES.get(context.params.type_v, str(context.params.type_v)),
        "n_prompt": prompt,
        "n_gen": generation,
        "n_depth": given.depth,
        "test_time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "avg_ns": int(statistics.fmean(samples)),
        "stddev_ns": int(deviation(samples)),
        "avg_ts": statistics.fmean(speeds),
        "stddev_ts": deviation(speeds),
        "samples_ns": samples,
        "samples_ts": speeds,
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("-m", "--model", required=True)
    arguments.add_argument("-p", "--prompt", type=int, default=512, help="tokens of a prompt; 0: no such test")
    arguments.add_argument("-n", "--generation", type=int, default=128, help="tokens to generate; 0: no such test")
    arguments.add_argument("-d", "--depth", type=int, default=0, help="tokens in the context before a test begins")
    arguments.add_argument("-t", "--threads", type=int, default=2)
    arguments.add_argument("-r", "--repetitions", type=int, default=5)
    arguments.add_argument("-o", "--output", choices=["json"], default="json")
    given = arguments.parse_args()
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    context = Context(given.model, given.depth + max(given.prompt, given.generation, 1), given.threads)
    context.prompt(given.depth)
    rows = []
    if given.prompt:
        samples = measure(context, context.prompt, given.prompt, given.prompt, given.depth, given.repetitions)
        rows.append(row(context, given, given.prompt, 0, samples))
    if given.generation:
        warm_up = min(given.generation, 16)
        samples = measure(context, context.generate, given.generation, warm_up, given.depth, given.repetitions)
        rows.append(row(context, given, 0, given.generation, samples))
    json.dump(rows, sys.stdout, indent=2)
    print()


main()
