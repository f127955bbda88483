"""A bundle is what was written, whole, or it is refused; it needs no torch to answer, and holds no pickle."""

from __future__ import annotations

import json
import os
import pickletools
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from cutler import bundle, registry, testing
from cutler.errors import BundleError, OutputError

TASK = registry.task("text_classification")({"text": "message", "label": "topic"})


def stored(family, folder, checkpoint="", task="text_classification"):
    """The folder that a small model of a family was saved into."""
    asked, part = registry.task(task)(), testing.fold(task)
    maker = registry.family(family)
    candidate = maker.propose(asked, testing.facts(asked, part), [checkpoint])[0]
    model = maker.fit(candidate, asked, part, state=folder / "state", until=4, monitor=lambda *_: None, seed=0)
    (folder / "model").mkdir(parents=True)
    model.save(folder / "model")
    return folder / "model"


def written(folder, model, *, weights=True, name="model.cutler"):
    files = {"card.json": '{"title": "Ä"}', "plan.json": "{}", "card.html": "<p>"}
    return bundle.write(folder / name, task=TASK, model=model, files=files, weights=weights)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return stored("linear", tmp_path_factory.mktemp("linear"))


@pytest.fixture
def made(tmp_path, linear):
    return written(tmp_path, linear)


def reseal(folder, change):
    """Alter the manifest and give it its own digest again, as one who knows how could."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    manifest["digest"] = bundle._own_digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_what_was_written_is_read_back(made):
    again = bundle.read(made.folder)
    assert again.labels == ("billing", "delivery", "login")
    assert again.task.columns == {"text": "message", "label": "topic"}
    assert again.card == {"title": "Ä"}
    rows = testing.rows("text_classification", 20)
    assert np.array_equal(again.scores(rows), made.scores(rows))


def test_rows_may_be_texts_or_keyed_by_role_or_by_the_columns_of_the_training_file(made):
    texts = [row["text"] for row in testing.rows("text_classification", 6)]
    found = [made.predict(given) for given in (texts, [{"text": t} for t in texts], [{"message": t} for t in texts])]
    assert found[0] == found[1] == found[2]
    assert made.predict([]) == []
    assert made.scores([]).shape == made.probabilities([]).shape == (0, 3)


def test_every_file_may_be_read_by_all(made):
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in made.folder.rglob("*"))


def test_probabilities_are_those_of_the_answers(made):
    texts = [row["text"] for row in testing.rows("text_classification", 6)]
    likely = made.probabilities(texts)
    assert likely.sum(axis=1) == pytest.approx(np.ones(6))
    assert [answer.probability for answer in made.predict(texts)] == pytest.approx(likely.max(axis=1))


def test_labelled_rows_are_measured_with_intervals(made):
    rows = [{"message": row["text"], "topic": row["label"]} for row in testing.rows("text_classification", 30)]
    found = made.evaluate([*rows, {"message": "x", "topic": ""}])
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert (found["rows"], found["set_aside"]) == (30, 1)


FILES = ("card.html", "card.json", "manifest.json", "model/model.json", "model/model.safetensors", "model/terms.json",
         "plan.json")  # fmt: skip


def test_these_are_the_files_of_a_bundle(made):
    found = sorted(p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*") if p.is_file())
    assert tuple(found) == FILES


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_changed_byte_anywhere_is_refused(made, name, place):
    path = made.folder / name
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest|changed") as caught:
        bundle.read(made.folder)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(made, name):
    (made.folder / name).unlink()
    with pytest.raises(BundleError, match="missing|without manifest"):
        bundle.read(made.folder)


@pytest.mark.parametrize("name", ["extra.txt", "model/more.bin", ".hidden"])
def test_an_added_file_is_refused(made, name):
    (made.folder / name).write_text("x", encoding="utf-8")
    with pytest.raises(BundleError, match=f"{name} added"):
        bundle.read(made.folder)


def test_a_swapped_pair_of_files_is_refused(made):
    one, other = made.folder / "card.json", made.folder / "plan.json"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(BundleError, match="changed"):
        bundle.read(made.folder)


def test_a_newer_format_is_refused_with_its_version(made):
    reseal(made.folder, lambda manifest: manifest.update(format=bundle.FORMAT + 1, version="9.9"))
    with pytest.raises(BundleError, match=r"format 2, of cutler 9\.9"):
        bundle.read(made.folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '"text"', "{}", "\x00\x01"])
def test_a_manifest_that_is_none_is_refused(made, content):
    (made.folder / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(BundleError, match="manifest"):
        bundle.read(made.folder)


@pytest.mark.parametrize("key", ["format", "version", "task", "columns", "metric", "files"])
def test_a_sealed_manifest_that_lacks_a_part_is_refused(made, key):
    reseal(made.folder, lambda manifest: manifest.pop(key))
    with pytest.raises(BundleError):
        bundle.read(made.folder)


def test_a_file_outside_of_the_bundle_cannot_be_named_by_its_manifest(made):
    reseal(made.folder, lambda manifest: manifest["files"].update({"../other": "0"}))
    with pytest.raises(BundleError, match="missing"):
        bundle.read(made.folder)


def test_a_damaged_model_behind_right_digests_is_refused_in_words(made):
    (made.folder / "model" / "model.safetensors").write_bytes(b"not tensors")
    digest = bundle._digest(made.folder / "model" / "model.safetensors")
    reseal(made.folder, lambda manifest: manifest["files"].update({"model/model.safetensors": digest}))
    with pytest.raises(BundleError, match="Expected a model that can be read"):
        bundle.read(made.folder)


@pytest.mark.parametrize("kind", ["nothing", "file", "folder"])
def test_what_is_no_bundle_is_refused(tmp_path, kind):
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("x", encoding="utf-8")
    if kind == "folder":
        place.mkdir()
    with pytest.raises(BundleError, match="a bundle that cutler fit wrote"):
        bundle.read(place)


def test_an_older_bundle_is_replaced_whole_and_nothing_is_left_beside_it(made, linear):
    (made.folder / "stray.txt").write_text("x", encoding="utf-8")
    written(made.folder.parent, linear)
    assert [path.name for path in made.folder.parent.iterdir()] == ["model.cutler"]
    assert not (made.folder / "stray.txt").exists()


def test_a_write_that_fails_leaves_the_older_bundle_as_it_was(made, tmp_path):
    before = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"model\.cutler"):
        written(made.folder.parent, tmp_path / "no such model")
    assert before == {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
    assert [path.name for path in made.folder.parent.iterdir()] == ["model.cutler"]


def test_a_place_is_refused_before_anything_is_spent(tmp_path, made):
    assert bundle.prepare(made.folder) == made.folder
    assert bundle.prepare(tmp_path / "new" / "deep").parent.is_dir()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x", encoding="utf-8")
    for taken in ("file", "full", "file/below"):
        with pytest.raises(OutputError):
            bundle.prepare(tmp_path / taken)
    assert (tmp_path / "full" / "thesis.tex").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="change its permissions"):
        bundle.prepare(tmp_path / "model.cutler")


def test_a_device_that_is_no_place_for_folders_is_refused():
    with pytest.raises(OutputError):
        bundle.prepare(Path("/proc/nothing/model.cutler"))


def test_a_workplace_is_gone_after_an_error(tmp_path):
    def broken():
        with bundle.workplace(tmp_path / "model.cutler") as place:
            (place / "state").write_text("x", encoding="utf-8")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert not list(tmp_path.iterdir())


def is_pickle(path):
    try:
        list(pickletools.genops(path.read_bytes()))
    except (ValueError, DeprecationWarning):  # of bytes that begin like one by chance
        return False
    return True


@pytest.mark.parametrize("family", [each.name for each in registry.families() if each.serves(TASK)])
def test_a_bundle_answers_without_torch_and_holds_no_pickle(family, checkpoint, decoder, tmp_path):
    start = decoder if family in ("decoder", "prompt") else checkpoint
    made = written(tmp_path, stored(family, tmp_path / "work", start))
    assert not [path for path in made.folder.rglob("*") if path.is_file() and is_pickle(path)]
    assert (made.folder / "transformers").is_dir() == (family in ("encoder", "decoder", "encoder_decoder"))
    script = textwrap.dedent("""
        import sys

        class Refusing:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "transformers", "onnx", "accelerate", "huggingface_hub"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Refusing())
        import cutler
        answers = cutler.load(sys.argv[1]).predict(["my parcel never arrived", ""])
        print([answer.value for answer in answers])
    """)
    done = subprocess.run([sys.executable, "-c", script, str(made.folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([a.value for a in made.predict(["my parcel never arrived", ""])])


def test_weights_for_further_training_are_left_out_on_request(checkpoint, tmp_path):
    made = written(tmp_path, stored("encoder", tmp_path / "work", checkpoint), weights=False)
    assert not (made.folder / "transformers").exists()
    assert made.predict(["my parcel never arrived"])


@pytest.mark.parametrize("name", ["translation", "summarization", "text_generation", "token_classification"])
def test_a_row_with_a_text_is_one_wherever_there_is_one_input(name, tmp_path):
    task = registry.task(name)()
    role = task.inputs[0]

    class Seeing:
        reads_columns = False

        def predict(self, rows):
            return [row[role] for row in rows]

    found = bundle.Bundle(tmp_path, task, Seeing())
    assert found.predict([{"text": "hello"}, {role: "there"}, "you", {"text": "no", role: "yes"}]) == [
        "hello", "there", "you", "yes",
    ]  # fmt: skip
