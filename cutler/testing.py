"""The contract suite: what every part of the registry keeps, and every fitted model, ours and other people's alike.

Each check takes a part and raises AssertionError with the promise that it broke. Rows and a tiny checkpoint of random
weights come along, so that a check takes seconds and needs no network and no torch of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from cutler import profile, registry
from cutler.data.words import words_of
from cutler.errors import Stopped
from cutler.models.base import Fitted, Stored
from cutler.types import (
    COLUMNS,
    ID,
    Answer,
    Beside,
    Candidate,
    Combiner,
    Compressor,
    Cost,
    Family,
    Fold,
    Model,
    Objective,
    Profile,
    Row,
    Splits,
    Task,
    Vocabulary,
)  # fmt: skip
from cutler.types.pretraining import IGNORED

__all__ = [
    "check_combiner", "check_compressor", "check_family", "check_model", "check_objective", "check_task", "facts",
    "fold", "rows", "tiny_checkpoint", "tiny_decoder",
]  # fmt: skip

ODD_TEXTS = {
    "empty": "", "blank": " \t\n ", "unknown script": "ᚠᛇᚻ ꦲꦏ", "100,000 characters": "parcel " * 14_286,
    "emoji": "👩‍👩‍👧‍👦🔥 ok 👍🏽", "control characters": "a\x00b\x07\x1b[31mc\ufeff\u200b",
    "right to left": "לא קיבלתי את החבילה 12 \u202eabc",
}  # fmt: skip
CLOSE = 1e-3
"""How far scores may differ between batches, orders and the stored format, in units of their spread."""
STEPS = 4
WORDS: Mapping[str, Sequence[str]] = {
    "billing": ("the invoice shows a wrong amount", "you charged my card twice", "please refund the payment",
                "a fee that nobody explained"),
    "delivery": ("the parcel never arrived", "the courier left the box outside", "my shipment is three days late",
                 "tracking has not moved"),
    "login": ("the password reset link fails", "my account is locked", "i cannot sign in any more",
              "the code was never accepted"),
}  # fmt: skip
AROUND = ("hello", "good morning", "since monday", "once again", "please help", "thank you", "as i wrote before",
          "today", "in the evening", "from my phone", "at the office", "for the second time")  # fmt: skip
CHAT = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
WITH_COLUMNS = ("class", "classes", "number")
"""Heads of the tasks whose rows also have columns, and lie in a graph."""
URGENCY = {"billing": 2.0, "delivery": 3.5, "login": 5.0}


def rows(task: str, n: int = 60, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows that a model can learn from, keyed by the roles of a task of that name, the same every time."""
    rng = np.random.default_rng(seed)
    kind = registry.task(task)
    found = [_row(kind.roles, number, rng) for number in range(n)]
    return [row | _beside(number) for number, row in enumerate(found)] if kind.head in WITH_COLUMNS else found


def _beside(number: int) -> dict[str, Any]:
    """The columns of a row and its id, of which the first column tells most of the topic; some are missing."""
    topic = list(WORDS)[number % len(WORDS)]
    found = {"channel": f"by {topic}" if number % 7 else "other", "hour": float(number % 24),
             "parts": (topic[:2], "any") if number % 2 else ("any",)}  # fmt: skip
    return {COLUMNS: {name: cell for place, (name, cell) in enumerate(found.items()) if (number + place) % 11},
            ID: f"n{number}"}  # fmt: skip


def fold(task: str, n: int = 60) -> Fold:
    """Two thirds of such rows for training, the others for validation."""
    found, target = rows(task, n), registry.task(task).roles[-1]
    topics, near = len(WORDS), range(n - len(WORDS))
    nodes = {row[ID]: {key: cell for key, cell in row.items() if key != target} for row in found if ID in row}
    edges = [(f"n{number}", f"n{number + topics}") for number in near] if nodes else []  # rows of the same topic
    corpus = documents() if "relevant" in registry.task(task).roles else {}
    return Fold(found[: 2 * n // 3], found[2 * n // 3 :], beside=Beside(corpus, edges, nodes=nodes))


def documents() -> dict[str, str]:
    """The corpus beside rows of queries: id -> text."""
    said = [(topic, number, each) for topic, sentences in WORDS.items() for number, each in enumerate(sentences)]
    return {f"{topic} {number}": f"{AROUND[number]} {each} {AROUND[-1 - number]}" for topic, number, each in said}


def facts(task: Task, part: Fold) -> Profile:
    """The profile of such a fold, its validation rows standing in for a test split."""
    return profile.describe(Splits(part.train, part.validation, part.validation, beside=part.beside), task)


def _row(roles: Sequence[str], number: int, rng: np.random.Generator) -> dict[str, Any]:
    topics = list(WORDS)
    first = topics[number % len(topics)]
    second = first if number % 2 else topics[(number + 1 + number // 6 % 2) % len(topics)]
    several = tuple(sorted({first, second})) if number % 5 else ()
    paired = "text_pair" in roles
    said = several if "labels" in roles else (first,)
    target = {
        "label": ("same" if first == second else "different") if paired else first,
        "labels": several,
        "score": (5.0 if first == second else 1.0) + float(rng.normal(0, 0.2)) if paired else URGENCY[first],
    }
    texts = {"text": _text(said, rng), "text_pair": _text((second,), rng)}
    found = _tagged(first, rng) if "tokens" in roles else {**texts, **target, **_written(first, rng)}
    if "context" in roles:
        found = _asked(first, number, rng)
    if "query" in roles:
        found = _sought(first, rng)
    return {role: found[role] for role in roles}


def _written(topic: str, rng: np.random.Generator) -> dict[str, str]:
    """A text, and what is to be written for it: the topic, and what is said of it without what stands around."""
    before, after = rng.choice(AROUND, 2, replace=False)
    said = f"{rng.choice(WORDS[topic])} in case {rng.integers(1000)}"
    source, target = f"{before} {said} {after}", f"{topic}: {said}"
    return {"source": source, "target": target, "prompt": source, "completion": target}


def _sought(topic: str, rng: np.random.Generator) -> dict[str, Any]:
    """A query about a topic, and its documents: the one that says the same before those that say something alike."""
    number = int(rng.integers(len(WORDS[topic])))
    same = [(f"{topic} {number}", 2.0)]
    return {"query": f"{rng.choice(AROUND)} {WORDS[topic][number]}",
            "relevant": tuple(same + [(f"{topic} {n}", 1.0) for n in range(len(WORDS[topic])) if n != number])}


def _tagged(topic: str, rng: np.random.Generator) -> dict[str, Any]:
    """Words, in which what is said of the topic is tagged as a span."""
    before, after = rng.choice(AROUND, 2, replace=False)
    parts = [(before, ""), (str(rng.choice(WORDS[topic])), topic), (after, "")]
    pairs = [(word, f"{'I' if place else 'B'}-{kind}" if kind else "O")
             for words, kind in parts for place, word in enumerate(words.split())]  # fmt: skip
    tokens, tags = zip(*pairs, strict=True)
    return {"tokens": tokens, "tags": tags}


def _asked(topic: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A text of three sentences, and a question in words of one of them; of another text for each seventh row."""
    said = {name: str(rng.choice(WORDS[name])) for name in rng.permutation(list(WORDS))}
    context, answer = ". ".join(said.values()), said[topic]
    asked = AROUND[number % len(AROUND)] if number % 7 == 6 else " ".join(answer.split()[-3:])
    start = context.index(answer)
    answers = () if number % 7 == 6 else ((answer, start, start + len(answer)),)
    return {"question": f"{asked}?", "context": context, "answers": answers}


def _text(topics: Sequence[str], rng: np.random.Generator) -> str:
    said = [str(rng.choice(WORDS[topic])) for topic in topics] or ["nothing in particular"]
    before, after = rng.choice(AROUND, 2, replace=False)
    return " ".join([before, *said, after, f"case {rng.integers(1000)}"])


def tiny_checkpoint(folder: Path, *, layers: int = 2, width: int = 32, seed: int = 0) -> Path:
    """A BERT of random weights with a WordPiece tokenizer, written to `folder` as save_pretrained would."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 2 * width,
        "max_position_embeddings": 128, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "pad_token_id": 0, "dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8")
    save_file(_bert(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _tokenizer() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    sentences = [*(said for each in WORDS.values() for said in each), *AROUND, "case nothing in particular"]
    words = sorted({word for sentence in sentences for word in sentence.split()})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    # spelt out, not trained: a trainer breaks ties by the order of its hash tables, which no seed fixes
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    return tokenizer


def _bert(config: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Random weights under the names that transformers gives them."""
    rng = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, np.ndarray] = {}
    sizes = {"word": config["vocab_size"], "position": config["max_position_embeddings"], "token_type": 2}
    for kind, size in sizes.items():
        found[f"embeddings.{kind}_embeddings.weight"] = rng.normal(0, 0.5, (size, width))
    norms = ["embeddings.LayerNorm"]
    dense = {"pooler.dense": (width, width)}
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        dense |= {f"{layer}.attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        dense |= {f"{layer}.attention.output.dense": (width, width), f"{layer}.intermediate.dense": (inner, width),
                  f"{layer}.output.dense": (width, inner)}  # fmt: skip
    for name in norms:
        found |= {f"{name}.weight": np.ones(width), f"{name}.bias": np.zeros(width)}
    for name, shape in dense.items():
        found |= {f"{name}.weight": rng.normal(0, shape[1] ** -0.5, shape), f"{name}.bias": np.zeros(shape[0])}
    return {name: array.astype(np.float32) for name, array in found.items()}


def tiny_decoder(folder: Path, *, layers: int = 2, width: int = 32, seed: int = 0) -> Path:
    """A Llama of random weights with a byte-level tokenizer and a chat template, as save_pretrained would write it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_level()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": width // 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "dtype": "float32",
    }  # fmt: skip
    tokens = {"unk_token": "<|endoftext|>", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|im_end|>", **tokens}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    save_file(_llama(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _byte_level() -> Tokenizer:
    """Bytes and whole words of the rows above, spelt out as in `_tokenizer`."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    said = [*(said for each in WORDS.values() for said in each), *AROUND, *WORDS, "same different none"]
    pieces = dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    merges: dict[tuple[str, str], None] = {}
    for word in sorted({word for sentence in said for word in sentence.split()}):
        for spelt in (word, f"Ġ{word}"):
            merges |= {(spelt[:end], spelt[end]): None for end in range(1, len(spelt))}
    pieces |= dict.fromkeys(left + right for left, right in merges)
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer


def _llama(config: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Random weights under the names that transformers gives them."""
    rng = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    found = {"model.embed_tokens.weight": rng.normal(0, 0.5, (config["vocab_size"], width)),
             "model.norm.weight": np.ones(width)}  # fmt: skip
    sizes = {
        "self_attn.q_proj": (width, width), "self_attn.k_proj": (width // 2, width),
        "self_attn.v_proj": (width // 2, width), "self_attn.o_proj": (width, width), "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner),
    }  # fmt: skip
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        found |= {f"{layer}.{name}.weight": np.ones(width) for name in ("input_layernorm", "post_attention_layernorm")}
        found |= {f"{layer}.{name}.weight": rng.normal(0, size[1] ** -0.5, size) for name, size in sizes.items()}
    return {name: array.astype(np.float32) for name, array in found.items()}


def check_task(kind: type[Task], examples: Sequence[Row] | None = None) -> None:
    """What a task promises: it knows its columns, reads its own targets, and a perfect model is the best one."""
    task, given = kind(), list(examples or rows(kind.name))
    assert kind.roles[:-1] == task.inputs, "all roles but the last are what a model reads"
    assert kind.roles[-1] == task.target, "the last role is what a model answers"
    assert task.metric in kind.metrics, "the primary metric is one of the task's"
    columns = kind.recognises(given)
    assert columns is not None, "a task recognises rows keyed by its own roles"
    assert set(columns) == set(kind.roles), "a task finds a column for every role"
    assert kind.recognises([{"nothing": ""}]) is None, "a task does not recognise rows without its columns"
    targets = task.targets(given)
    assert len(targets) == len(given), "one target a row"
    for target in targets:
        assert task.parse_target(target) == target, "a target reads as itself"
    _check_measuring(task, targets)


def _check_measuring(task: Task, targets: Sequence[Any]) -> None:
    swapped = [*targets[1:], targets[0]]
    assert task.score(targets, targets) > task.score(targets, swapped), "the right answers score higher than wrong ones"
    assert task.score(targets, [Answer(t).value for t in targets]) == task.score(targets, targets)
    measured = task.measure(targets, swapped)
    assert set(task.metrics) <= set(measured), "every metric is measured"
    assert all(math.isfinite(value) for value in measured.values()), "every metric is a number"
    draws = np.random.default_rng(0).multinomial(len(targets), np.ones(len(targets)) / len(targets), 7)
    assert task.resampled(targets, swapped, draws).shape == (7,), "one value a row of weights"
    once = task.resampled(targets, swapped, np.ones((1, len(targets)), np.uint8))
    assert math.isclose(float(once[0]), task.score(targets, swapped), abs_tol=1e-6), "weights of one change nothing"


def check_family(family: Family, folder: Path, *, checkpoints: Sequence[str] = (), tasks: Sequence[str] = ()) -> None:
    """What a family promises, on each task whose head it serves (or those named): see the checks called here."""
    served = tasks or [kind.name for kind in registry.tasks() if family.serves(kind)]
    assert served, "a family serves a head that some task has"
    for name in served:
        task, part = registry.task(name)(), fold(name)
        found = facts(task, part)
        candidates = family.propose(task, found, checkpoints)
        assert candidates, "a family proposes at least one candidate"
        for candidate in candidates:
            _check_candidate(family, candidate, task, part, found)
        _check_fitting(family, candidates[0], task, part, folder / name)


def _check_candidate(family: Family, candidate: Candidate, task: Task, part: Fold, found: Profile) -> None:
    assert candidate.family == family.name, "a candidate names its family"
    again = Candidate.from_json(json.loads(json.dumps(candidate.as_json())))
    assert again == candidate, "a candidate is equal after JSON"
    assert hash(again) == hash(candidate), "a candidate can be hashed"
    cost = family.estimate(candidate, found)
    assert isinstance(cost, Cost), "the estimate is a Cost"
    assert cost.size_mb > 0, "the size is foreseen"
    assert cost.latency_ms > 0, "the latency is foreseen"
    assert family.pace(candidate, task, part, found).seconds(len(part.train), 1) >= 0, "a pace in seconds"


def _check_fitting(family: Family, candidate: Candidate, task: Task, part: Fold, folder: Path) -> None:
    heard: list[tuple[int, float]] = []
    model, twin = (
        family.fit(candidate, task, part, state=folder / place / candidate.key, until=STEPS, seed=3,
                   monitor=lambda step, score: heard.append((step, score)))
        for place in ("first", "second")
    )  # fmt: skip
    assert model.candidate.family == family.name, "a model carries the candidate that it was fitted from"
    _check_same(model, twin, part.validation, "the same seed gives the same scores")
    assert all(step >= 1 and not math.isnan(score) for step, score in heard), "the monitor hears of steps and scores"
    check_model(model, part.validation, folder / "stored")
    if family.refits and isinstance(model, Fitted):
        _check_refitting(family, model, task, part, folder)
    if family.trained_in_steps:
        assert heard, "a family that is trained in steps tells its monitor"
        _check_stopping(family, candidate, task, part, folder)


def _check_refitting(family: Family, model: Model, task: Task, part: Fold, folder: Path) -> None:
    state, every = folder / "first" / model.candidate.key, len(part.train) + len(part.validation)
    chosen = [np.arange(every) < n_rows for n_rows in (len(part.train), every)]
    same, more = (family.refit(model, task, part, learn=learn, state=state, seed=3) for learn in chosen)
    assert more.candidate == model.candidate, "a model whose head is fitted again keeps its choices"
    apart = np.abs(more.scores(part.validation) - same.scores(part.validation)).max()
    assert apart > 1e-4, "a head that is fitted again learns from the rows that it is told to"
    check_model(more, part.validation, folder / "again")


def _check_stopping(family: Family, candidate: Candidate, task: Task, part: Fold, folder: Path) -> None:
    def enough(step: int, score: float) -> None:
        raise Stopped("enough")

    state = folder / "stopped" / candidate.key
    stopped = family.fit(candidate, task, part, state=state, until=STEPS, monitor=enough, seed=3)
    assert len(stopped.predict(part.validation)) == len(part.validation), "a run that was stopped still gives a model"


def check_objective(objective: Objective) -> None:
    """What a pretraining objective promises: tokens of the blocks, drawn by the generator alone, none of them lost."""
    known = Vocabulary(
        size=60, pad=0, end=1, separators=(1, 2), begins=np.arange(60) % 3 > 0, plain=np.arange(20, 60), mask=3,
        sentinels=tuple(range(4, 20)),
    )  # fmt: skip
    blocks = np.random.default_rng(0).integers(20, 60, (6, objective.block(48)))
    blocks[:, ::17] = known.end
    first, again, other = (objective.examples(blocks, known, np.random.default_rng(seed)) for seed in (1, 1, 2))
    ids, labels = first["input_ids"], first["labels"]
    assert ids.shape[1] <= 48, "what is read is no longer than what the network reads"
    assert ids.dtype == labels.dtype == np.int64, "ids and labels are whole numbers of 64 bits"
    assert len(ids) == len(labels) == len(blocks), "one row a block"
    assert all(np.array_equal(first[name], again[name]) for name in first), "the same draw gives the same examples"
    assert ids.min() >= 0, "what is read are tokens"
    assert ids.max() < known.size, "what is read are tokens of the vocabulary"
    assert known.pad not in ids, "nothing is padded"
    predicted = labels[labels != IGNORED]
    assert len(predicted), "something is predicted"
    assert set(predicted) <= {*blocks.ravel(), *known.sentinels, known.end}, "what is predicted stood in the block"
    if objective.architecture != "decoder":
        assert not np.array_equal(ids, other["input_ids"]), "what is predicted is drawn anew each time"
    if objective.architecture != "encoder-decoder":
        assert labels.shape == ids.shape, "each place has its label"
        held = labels != IGNORED
        assert np.array_equal(np.where(held, labels, ids), blocks), "labels and what is left give the block back"


def check_model(model: Model, given: Sequence[Row], folder: Path) -> None:
    """What a fitted model promises: one answer each, in order, whatever the batch, and the same after a round trip."""
    answers = model.predict(given)
    assert len(given) == len(answers), "one answer each"
    for answer in answers:
        _check_answer(answer)
    assert model.predict([]) == [], "no rows, no answers"
    if isinstance(model, Fitted):
        _check_scores(model, given)
    else:
        values = [answer.value for answer in answers]
        turned, alone = model.predict(given[::-1])[::-1], [model.predict([row])[0] for row in given]
        assert [answer.value for answer in turned] == values, "the order of the rows does not change an answer"
        assert [answer.value for answer in alone] == values, "the batch does not change an answer"
    _check_odd_texts(model, given[0])
    _check_round_trip(model, given, folder)


def _check_scores(model: Fitted, given: Sequence[Row]) -> None:
    scores = model.scores(given)
    assert scores.ndim == 2, "scores are (rows, labels)"
    assert len(scores) == sum(_sizes(given)), "scores for each row, or each word that is tagged"
    assert np.isfinite(scores).all(), "scores are finite"
    turned = np.concatenate(_by_row(model.scores(given[::-1]), given[::-1])[::-1])
    _close(turned, scores, "the order of the rows does not change a score")
    _close(np.concatenate([model.scores([row]) for row in given]), scores, "the batch does not change a score")


def _check_same(one: Model, other: Model, given: Sequence[Row], promise: str) -> None:
    """Two models are the same on these rows: their scores, or their answers where they score no labels."""
    if isinstance(one, Fitted):
        _close(one.scores(given), other.scores(given), promise)
    else:
        assert [a.value for a in one.predict(given)] == [a.value for a in other.predict(given)], promise


def _sizes(given: Sequence[Row]) -> list[int]:
    """How many scores each row has: one a word where words are tagged."""
    return [len(words_of(row["tokens"])) if "tokens" in row else 1 for row in given]


def _by_row(scores: np.ndarray, given: Sequence[Row]) -> list[np.ndarray]:
    return np.split(scores, np.cumsum(_sizes(given))[:-1])


def _check_odd_texts(model: Model, row: Row) -> None:
    inputs = [role for role in ("text", "text_pair", "tokens", "source", "prompt", "question", "context", "query")
              if role in row]  # fmt: skip
    found = [{**row, inputs[-1]: text} for text in ODD_TEXTS.values()] if inputs else []
    found = found if inputs else [{**row, COLUMNS: {"channel": text}} for text in ODD_TEXTS.values()]
    found += [dict.fromkeys(inputs, ODD_TEXTS["empty"])]
    answers = model.predict(found)
    assert len(answers) == len(found), "one answer each, odd texts too"
    for answer in answers:
        _check_answer(answer)
    if isinstance(model, Fitted):
        for name, score in zip([*ODD_TEXTS, "empty"], _by_row(model.scores(found), found), strict=True):
            assert np.isfinite(score).all(), f"a finite score for a text that is {name}"


def _check_round_trip(model: Model, given: Sequence[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    stored = type(model).load(folder)
    assert stored.candidate == model.candidate, "a stored model carries its candidate"
    _check_same(stored, model, given, "a stored model scores as before")
    for before, after in zip(model.predict(given), stored.predict(given), strict=True):
        assert type(before.value) is type(after.value), "a stored model answers in the same type"
        if not isinstance(before.value, float):
            assert before.value == after.value, "a stored model answers as before"
    suffixes = (".pkl", ".pickle", ".pt", ".bin", ".joblib")
    pickled = [path.name for path in folder.rglob("*") if path.suffix in suffixes and not _is_plain(path)]
    assert not pickled, f"no pickle among the files, found {pickled}"


def _is_plain(path: Path) -> bool:
    """Whether a file is CTranslate2's, which holds a version number, then named arrays, and bears a name of pickles."""
    with path.open("rb") as file:
        return path.name == "model.bin" and 0 < int.from_bytes(file.read(4), "little") < 100


def _check_answer(answer: Answer) -> None:
    assert isinstance(answer, Answer), "an Answer"
    assert math.isnan(answer.probability) or 0 <= answer.probability <= 1, "a probability from 0 to 1, or NaN"
    if isinstance(answer.value, float):
        assert math.isfinite(answer.value), "a number is finite"


def check_compressor(compressor: Compressor, model: Model, part: Fold, folder: Path) -> None:
    """What a compressor promises of a model that it accepts: a model of its own, and the given one as it was."""
    if not compressor.accepts(model):
        return
    before = model.scores(part.validation)
    smaller = compressor.apply(model, part)
    _close(model.scores(part.validation), before, "the model given stays as it was")
    assert compressor.name in smaller.candidate.compression, "the candidate names the compression"
    check_model(smaller, part.validation, folder)


def check_combiner(combiner: Combiner, task: Task, members: Sequence[Stored], part: Fold, folder: Path) -> None:
    """What a way of combining promises of fitted models that know the same labels, or the same documents."""
    rows, labels = part.validation, members[0].labels
    told = {member.candidate: _told(member, rows) for member in members}
    for candidate in combiner.propose(task, rows, labels, told):
        assert candidate.family == combiner.name, "a combination names its way of combining"
        assert len(candidate.members) > 1, "a combination has members"
        assert set(candidate.members) <= set(told), "the members are models that were given"
    whole = Candidate(combiner.name, members=tuple(told))
    combined, judged = combiner.combine(whole, task, rows, members, list(told.values()))
    assert combined.candidate == whole, "the combined model carries its candidate"
    assert np.shape(judged)[:1] == np.shape(_told(combined, rows))[:1], "it is judged by as many scores as it gives"
    for member, before in zip(members, told.values(), strict=True):
        if isinstance(member, Fitted):
            _close(member.scores(rows), before, "a member stays as it was")
        else:
            assert _told(member, rows) == before, "a member stays as it was"
    check_model(combined, rows, folder)


def _told(model: Model, rows: Sequence[Row]) -> Any:
    """What a combination is made by: scores, or answers where a model scores no labels."""
    return model.scores(rows) if isinstance(model, Fitted) else [answer.judged for answer in model.predict(rows)]


def _close(found: np.ndarray, wanted: np.ndarray, promise: str) -> None:
    spread = float(wanted.std()) + 1e-6
    apart = float(np.abs(found - wanted).max(initial=0.0))
    assert apart <= CLOSE * max(spread, 1.0), f"{promise}: {apart:.2g} apart, at a spread of {spread:.2g}"
