"""The sets the text recipes read: where each lies under the data folder, and whom to thank for it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A set of texts: where it lies under the data folder, and whom to thank for it."""

    path: str
    what: str
    origin: str
    licence: str


SOURCES = {
    "children": Source(
        "english/children_stories_ccby.txt.xz",
        "764 picture-book texts",
        "global-asp/asp-source, pb-source, lida-source; bookdash/bookdash-books",
        "CC BY",
    ),
    "fairytales": Source(
        "english/fairytales_train.txt.xz", "fairy tales", "FairytaleQA, uci-soe/FairytaleQAData", "Apache-2.0"
    ),
    "fairytales_held_out": Source(
        "english/fairytales_val.txt.xz", "fairy tales held out", "FairytaleQA, uci-soe/FairytaleQAData", "Apache-2.0"
    ),
    "books": Source("books/books_easy.txt.xz", "classic prose", "mlschmitt/classic-books-markdown", "public domain"),
    "manifest": Source(
        "books/manifest.tsv", "the titles of the books", "mlschmitt/classic-books-markdown", "public domain"
    ),
    "books_held_out": Source(
        "books/books_valid.txt", "six books held out", "mlschmitt/classic-books-markdown", "public domain"
    ),
    "tatoeba": Source(
        "english/tatoeba_en.txt.xz", "212,896 everyday sentences", "Tatoeba, through manythings.org", "CC BY 2.0"
    ),
    "commonvoice": Source(
        "english/commonvoice_en.txt.xz", "54,746 sentences read aloud", "mozilla/common-voice", "CC0"
    ),
    "news": Source(
        "english/onestop_news.txt.xz", "graded news", "nishkalavallabhi/OneStopEnglishCorpus", "CC BY-SA 4.0"
    ),
    "wikisplit": Source(
        "english/wikisplit_en.txt.xz", "encyclopaedic sentences", "google-research-datasets/wiki-split", "CC BY-SA 4.0"
    ),
    "dialogues": Source(
        "english/sgd_dialogues_train.txt.xz",
        "dialogues about everyday services",
        "google-research-datasets/dstc8-schema-guided-dialogue",
        "CC BY-SA 4.0",
    ),
    "easy_vqa": Source(
        "easy_vqa/easy_vqa_train.tar.xz",
        "4,000 pictures of a shape with 38,575 questions, one picture in ten held out",
        "vzhou842/easy-VQA",
        "MIT",
    ),
    "countries": Source("facts/countries.tsv", "capitals and languages", "factbook/factbook.json", "CC0"),
    "sst2": Source(
        "sentiment/sst2_train.tsv",
        "67,334 labelled phrases of film reviews (SST-2)",
        "Stanford Sentiment Treebank, Socher et al. 2013",
        "none stated; research use",
    ),
    "sst2_held_out": Source(
        "sentiment/sst2_dev.tsv",
        "872 labelled sentences (SST-2 dev), held out",
        "Stanford Sentiment Treebank, Socher et al. 2013",
        "none stated; research use",
    ),
    "snippets": Source(
        "sentiment/sentence_polarity_no_sst_eval.tsv",
        "7,716 labelled review snippets",
        "sentence polarity set of Pang and Lee 2005, nltk/nltk_data",
        "CC BY 4.0",
    ),
    "goemotions": Source(
        "sentiment/goemotions/group/train.tsv",
        "everyday remarks with feelings",
        "monologg/GoEmotions-pytorch",
        "Apache-2.0",
    ),
    "pros_cons": Source(
        "sentiment/pros_cons.zip", "praise and complaint about products", "Liu 2008, nltk/nltk_data", "CC BY 4.0"
    ),
    "tang": Source(
        "chinese/poetry/全唐诗.tsv.xz", "57,607 poems of the Tang (全唐诗)", "chinese-poetry/chinese-poetry", "MIT"
    ),
    "zh_wiki": Source(
        "chinese/commonvoice/wiki.zh-cn.txt", "about 50,000 sentences of Wikipedia", "mozilla/common-voice", "CC0"
    ),
    "zh_talk": Source("chinese/commonvoice/cn.txt", "3,182 everyday Chinese sentences", "mozilla/common-voice", "CC0"),
    "zh_collected": Source(
        "chinese/commonvoice/sentence-collector.txt", "258 collected Chinese sentences", "mozilla/common-voice", "CC0"
    ),
    "chnsenticorp": Source(
        "chinese/chnsenticorp/train.tsv",
        "9,600 labelled reviews of hotels, books and computers (ChnSentiCorp)",
        "Tan Songbo; ymcui/Chinese-BERT-wwm",
        "academic research purpose",
    ),
    "chnsenticorp_held_out": Source(
        "chinese/chnsenticorp/dev.tsv",
        "1,200 labelled reviews (ChnSentiCorp dev), held out",
        "Tan Songbo; ymcui/Chinese-BERT-wwm",
        "academic research purpose",
    ),
    "waimai": Source(
        "chinese/waimai_10k.csv",
        "11,987 labelled reviews of meals brought home",
        "SophonPlus/ChineseNlpCorpus",
        "none stated",
    ),
    "online_shopping": Source(
        "chinese/online_shopping_10_cats.csv.xz",
        "labelled reviews of goods of seven kinds",
        "SophonPlus/ChineseNlpCorpus",
        "none stated",
    ),
}
