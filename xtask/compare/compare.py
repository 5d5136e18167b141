"""Logits of tritune and of llama.cpp on the same tokens, as a row of a Markdown table for each model.

`cargo xtask compare-logits` runs it. Both programs keep keys and values in f32. A model with tokens of its own
(MODEL.json, as test fixtures have it) is compared on those; any other on windows of a text, cut as llama-perplexity cuts
them, whose second halves give the perplexities.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np


def run(*command, stdin=None):
    return subprocess.run([str(word) for word in command], input=stdin, stdout=subprocess.PIPE, check=True).stdout


class Tritune:
    def __init__(self, binary, model, threads):
        self.binary, self.model, self.threads = binary, model, threads

    def tokenize(self, text):
        ids = run(self.binary, "tokenize", self.model, "--no-special", stdin=text)
        return [int(id) for id in ids.split()]

    def logits(self, tokens):
        with tempfile.TemporaryDirectory() as folder:
            ids, out = Path(folder, "tokens"), Path(folder, "logits.npy")
            ids.write_text(" ".join(map(str, tokens)))
            run(self.binary, "logits", self.model, "--tokens", ids, "--out", out, "-t", self.threads)
            return np.load(out)


class Llama:
    def __init__(self, model, context, threads):
        f32 = llama_cpp.GGML_TYPE_F32
        self.llama = llama_cpp.Llama(
            str(model), n_ctx=context, n_batch=context, n_ubatch=context, n_threads=threads, n_threads_batch=threads,
            logits_all=True, type_k=f32, type_v=f32, verbose=False,
        )
        self.begins = self.llama.token_bos() if llama_cpp.llama_vocab_get_add_bos(self.llama._model.vocab) else None

    def tokenize(self, text):
        return self.llama.tokenize(text, add_bos=False, special=False)

    def logits(self, tokens):
        self.llama.reset()
        self.llama.eval(tokens)
        return np.array(self.llama.scores[: len(tokens)])


def surprise(logits, tokens):
    """Of each token of a window's second half: minus the logarithm of its probability."""
    first = len(tokens) // 2
    logits = logits[first:-1].astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return total - logits[np.arange(len(logits)), tokens[first + 1 :]]


def windows(model, text, context, tritune, llama):
    """Windows of tokens, each with what is fed."""
    own = model.with_suffix(".json")
    if own.exists():
        return [json.loads(own.read_text())["tokens"]], "its own"
    tokens = tritune.tokenize(text)
    same = "same ids" if tokens == llama.tokenize(text) else "OTHER IDS"
    if llama.begins is not None:
        tokens = [llama.begins] + tokens
    count = len(tokens) // context
    if count == 0:
        raise SystemExit(f"error: {model}: {len(tokens)} tokens are no window of {context}; give a longer text")
    return [tokens[i * context : (i + 1) * context] for i in range(count)], same


def compare(model, text, context, tritune, llama):
    squares, deviations, same, count, values = 0.0, 0.0, 0, 0, 0
    surprises = [[], []]
    cut, ids = windows(model, text, context, tritune, llama)
    for window in cut:
        fed = list(window)
        if llama.begins is not None and ids != "its own":
            fed[0] = llama.begins
        ours, theirs = tritune.logits(fed), llama.logits(fed)
        if ours.shape != theirs.shape:
            raise SystemExit(f"error: {model}: logits of shapes {ours.shape} and {theirs.shape}")
        squares += np.square(ours.astype(np.float64) - theirs).sum()
        deviations += np.square(theirs - theirs.mean(dtype=np.float64)).sum()
        same += int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        count, values = count + len(window), values + theirs.size
        for list_, logits in zip(surprises, (ours, theirs)):
            list_.extend(surprise(logits, window))
    rms = (squares / deviations) ** 0.5
    ours, theirs = (np.exp(np.mean(list_)) for list_ in surprises)
    share = 100 * same / count
    return f"| {model.name} | {count} | {ids} | {rms:.2e} | {share:.1f} % | {ours:.4f} | {theirs:.4f} |"


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("models", nargs="+", type=Path)
    arguments.add_argument("--tritune", required=True, type=Path)
    arguments.add_argument("--text", required=True, type=Path)
    arguments.add_argument("--bytes", type=int)
    arguments.add_argument("--context", type=int, default=512)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    text = given.text.read_bytes()[: given.bytes]
    text = text.decode(errors="ignore").encode()
    print(f"llama-cpp-python {llama_cpp.__version__}; {given.text.name}, {len(text)} bytes, windows of {given.context}\n")
    print("| file | tokens | token ids | relative RMS | same best | PPL tritune | PPL llama.cpp |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for model in given.models:
        llama = Llama(model, given.context, given.threads)
        print(compare(model, text, given.context, Tritune(given.tritune, model, given.threads), llama), flush=True)


main()
