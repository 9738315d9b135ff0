"""A small server to record: asyncio, continuous batching over transformers, worker processes, CUDA graphs on request.

    tracediff record --out runs/serve -- python scripts/serve_example.py --graphs

The front takes requests on a socket and deals them to worker processes. A worker's batch changes from step to step:
requests join while others run, and leave when they are done. Every step computes the last WINDOW tokens of each running
request anew, without a cache of keys and values, so a step's shape is (running requests, WINDOW). With --graphs a
worker captures one CUDA graph per batch size and replays it. The clients are part of this program: they send requests
at staggered times and print what came back.
"""

import argparse
import asyncio
import json
import multiprocessing
import queue
import sys
from multiprocessing.queues import Queue

import torch
from transformers import LlamaConfig, LlamaForCausalLM

WINDOW = 32
SIZES = (1, 2, 4, 8)
_GEOMETRY = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2},
}
_VOCABULARY = {"1b": 128256, "tiny": 256}


Request = tuple[int, list[int]]


class Worker:
    """One process's model and the requests that run on it."""

    def __init__(self, model: str, layers: int, graphs: bool) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        torch.manual_seed(0)
        config = LlamaConfig(**_GEOMETRY[model], num_hidden_layers=layers, vocab_size=_VOCABULARY[model])
        dtype = torch.float16 if self._device == "cuda" else torch.float32
        self._model = LlamaForCausalLM(config).to(self._device, dtype).eval()
        self._graphs = {size: self._captured(size) for size in SIZES} if graphs and self._device == "cuda" else {}

    def next_tokens(self, requests: list[list[int]]) -> list[int]:
        """Return each request's next token: the likeliest one."""
        last = torch.tensor([min(len(tokens), WINDOW) - 1 for tokens in requests])
        window = torch.zeros(len(requests), WINDOW, dtype=torch.long)
        for row, tokens in enumerate(requests):
            kept = tokens[-WINDOW:]
            window[row, : len(kept)] = torch.tensor(kept)
        logits = (
            self._replayed(window) if self._graphs else self._model(window.to(self._device), use_cache=False).logits
        )
        chosen: list[int] = logits[torch.arange(len(requests)), last.to(self._device)].argmax(-1).tolist()
        return chosen

    def _forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(tokens, use_cache=False).logits
        return logits

    def _replayed(self, window: torch.Tensor) -> torch.Tensor:
        size = next(size for size in SIZES if size >= len(window))
        graph, tokens, logits = self._graphs[size]
        tokens[: len(window)].copy_(window)
        graph.replay()
        return logits

    def _captured(self, size: int) -> tuple["torch.cuda.CUDAGraph", torch.Tensor, torch.Tensor]:
        tokens = torch.zeros(size, WINDOW, dtype=torch.long, device=self._device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._forward(tokens)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = self._forward(tokens)
        return graph, tokens, logits


def work(
    options: argparse.Namespace, requests: "Queue[tuple[int, list[int]] | None]", answers: "Queue[object]"
) -> None:
    """Run requests until None comes: a step for all that run, then whatever has come joins."""
    with torch.inference_mode():
        worker = Worker(options.model, options.layers, options.graphs)
        answers.put("ready")
        running: dict[int, list[int]] = {}
        left: dict[int, int] = {}
        while True:
            try:
                while len(running) < SIZES[-1]:
                    request = requests.get(block=not running)
                    if request is None:
                        return
                    running[request[0]], left[request[0]] = request[1], options.new_tokens
            except queue.Empty:
                pass
            for name, token in zip(list(running), worker.next_tokens(list(running.values())), strict=True):
                running[name].append(token)
                left[name] -= 1
                if not left[name]:
                    answers.put((name, running.pop(name)[-options.new_tokens :]))


async def serve(options: argparse.Namespace) -> None:
    """Start workers and the front, send requests to it, and print the answers."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    inboxes = [context.Queue() for _ in range(options.workers)]
    workers = [context.Process(target=work, args=(options, inbox, answers)) for inbox in inboxes]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert await asyncio.to_thread(answers.get) == "ready"
    waiting: dict[int, asyncio.Future[list[int]]] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = len(waiting)
        waiting[name] = asyncio.get_running_loop().create_future()
        inboxes[name % len(inboxes)].put((name, json.loads(await reader.readline())))
        writer.write(json.dumps(await waiting[name]).encode() + b"\n")
        await writer.drain()
        writer.close()

    async def deal() -> None:
        while True:
            name, tokens = await asyncio.to_thread(answers.get)
            waiting[name].set_result(tokens)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    dealing = asyncio.create_task(deal())
    port = server.sockets[0].getsockname()[1]
    texts = await asyncio.gather(*(ask(port, number, options) for number in range(options.requests)))
    print(json.dumps(texts), flush=True)
    dealing.cancel()
    for inbox in inboxes:
        inbox.put(None)
    for worker in workers:
        worker.join()
    answers.put((0, []))  # wakes the thread that waits for one
    server.close()


async def ask(port: int, number: int, options: argparse.Namespace) -> list[int]:
    """Send one request, a little after the one before."""
    await asyncio.sleep(number * options.gap)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(json.dumps([(7 * number + place) % 200 + 1 for place in range(6 + number % 3)]).encode() + b"\n")
    tokens: list[int] = json.loads(await reader.readline())
    writer.close()
    return tokens


def main() -> None:
    """Serve some requests and end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(_GEOMETRY), default="1b")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--new-tokens", type=int, default=6)
    parser.add_argument("--gap", type=float, default=0.005, help="Seconds between requests.")
    parser.add_argument("--graphs", action="store_true", help="Capture and replay CUDA graphs.")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
