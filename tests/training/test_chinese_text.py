"""What the Chinese reader may read: nothing that it is tested on, in whatever dress."""

import pytest

from tests.training.tiny_sets import ZH_SENTENCES, write_sets
from training import chinese_text, corpus
from training.loop import RecipeError


@pytest.fixture
def data(tmp_path):
    write_sets(tmp_path)
    return tmp_path


def put(data, name, text):
    """Write one of SOURCES anew, unpacked ones only."""
    (data / corpus.SOURCES[name].path).write_text(text, encoding="utf-8")


def test_every_sentence_is_learned_from_or_held_out_and_none_is_both(data):
    training, held_out = chinese_text.gather_sentences(data)
    assert set(training) == set(held_out) == set(chinese_text.SENTENCES)
    learned = {text for texts in training.values() for text in texts}
    assert learned and learned.isdisjoint(text for texts in held_out.values() for text in texts)
    assert all(chinese_text.is_held_out(text) for texts in held_out.values() for text in texts)
    assert learned <= {line for name in training for line in corpus.read(data, name).splitlines()}


@pytest.mark.parametrize(
    "held_out",
    ["老人说他不知道", "“老人说，他不知道！”", "昨天晚上，老人说：他不知道那扇小门后面有什么东西在动"],
    ids=["inside another", "otherwise punctuated", "a long run of another"],
)
def test_a_held_out_sentence_copied_from_the_training_is_not_asked(held_out):
    training = {"zh_wiki": ["老人说他不知道那扇小门后面有什么。"]}
    assert chinese_text.unseen({"zh_talk": [held_out]}, training) == {"zh_talk": []}


def test_a_held_out_sentence_with_common_words_alone_is_asked():
    training = {"zh_wiki": ["老人说他不知道那扇小门后面有什么。"]}
    asked = {"zh_talk": ["那扇小门后面住着一位老人。", "他不知道为什么。"]}
    assert chinese_text.unseen(asked, training) == asked


def test_no_review_of_the_dev_set_is_learned_from_however_it_is_written(data):
    put(data, "chnsenticorp_held_out", "label\ttext_a\n1\t房间很大，服务很好！\n")
    put(data, "chnsenticorp", "label\ttext_a\n1\t房间 很大 服务很好。\n0\t房间很小。\n0\t房间很小。\n")
    put(data, "waimai", "label,review\n1,“房间很大，服务很好”\n0,送得太慢\n")
    reviews, dev = chinese_text.gather_reviews(data)
    assert dev == [("房间很大，服务很好！", 1)]
    assert reviews["chnsenticorp"] == [("房间很小。", 0)]
    assert reviews["waimai"] == [("送得太慢", 0)]
    assert "1 in chnsenticorp, 1 in waimai, 0 in online_shopping" in chinese_text.copies(data)


def test_goods_that_are_the_tested_set_again_are_left_out_whole(tmp_path, data, monkeypatch):
    table = '\ufeffcat,label,review\n书籍,1,好看\n酒店,0,太吵\n计算机,1,很快\n水果,0,"不新鲜，\n不甜"\n水果,1,\n'
    monkeypatch.setattr(corpus, "read", lambda data, name: table)
    assert chinese_text.reviews(data, "online_shopping") == [("不新鲜，\n不甜", 0)]
    assert len(chinese_text.reviews(data, "online_shopping", ())) == 4


@pytest.mark.parametrize(
    "table", ["label\ttext_a\nx\t很好\n", "stars\ttext_a\n1\t很好\n", "label\n"[:0] + "a\tb\n1\t很好\n"]
)
def test_a_table_of_another_form_is_refused_in_one_line(data, table):
    put(data, "chnsenticorp", table)
    with pytest.raises(RecipeError, match="not a table of labels and reviews") as refused:
        chinese_text.gather_reviews(data)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_named(data):
    (data / corpus.SOURCES["zh_talk"].path).unlink()
    with pytest.raises(RecipeError, match=r"cn\.txt is missing"):
        chinese_text.gather_sentences(data)


def test_the_tiny_sentences_are_told_apart():
    assert len(set(ZH_SENTENCES)) == len(ZH_SENTENCES)
