"""What a terminal says of scores: the numbers first, then every parameter they were measured with."""

from pipeline.judging.score import WIDTH, Score, score_lines

BINS = {"bins": "training pictures / 20", "seed": 2026, "whitening": False, "test": "pooled, two-tailed"}
NDB = Score("ndb", 20.1, None, None, 5000, "lower", "pixels", BINS)
JSD = Score("jsd", 0.111, 0.1, 0.125, 5000, "lower", "pixels", BINS)
KID = Score("kid", None, None, None, 500, "lower", "graft_eye", {"kernel": "(x.y / F + 1)^3"})


def test_the_numbers_come_first_with_network_and_n() -> None:
    said = score_lines([one.as_dict() for one in (NDB, JSD, KID)])
    assert said[:3] == [
        "  ndb        20.1000  (pixels, n 5000)",
        "  jsd        0.1110  [0.1000, 0.1250]  (pixels, n 5000)",
        "  kid        none  (graft_eye, n 500)",
    ]


def test_every_parameter_is_said_once_for_all_that_share_it() -> None:
    said = score_lines([one.as_dict() for one in (NDB, JSD, KID)])[3:]
    recipe = "bins training pictures / 20, seed 2026, whitening False, test pooled, two-tailed"
    assert " ".join(map(str.strip, said)) == f"ndb, jsd: {recipe}. kid: kernel (x.y / F + 1)^3."
    assert max(map(len, said)) <= WIDTH


def test_scores_without_a_recipe_are_numbers_alone() -> None:
    assert len(score_lines([Score("kid", 0.5, None, None, 9, "lower", "graft_eye").as_dict()])) == 1
