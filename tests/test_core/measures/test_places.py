"""Places of crops: anywhere in an image that is known, and where most is known in one with nodata."""

import numpy as np

from oadg.core.measures.places import best_known, cut, draw_places


def test_in_a_known_image_places_are_drawn_one_by_one():
    """So that crops do not depend on how many are drawn, and all of them lie in the image."""
    image = np.zeros((9, 12), dtype=int)
    many = draw_places(image, (9, 5), 200, np.random.default_rng(1))
    assert (many[:20] == draw_places(image, (9, 5), 20, np.random.default_rng(1))).all()
    assert set(many[:, 0]) == {0}
    assert set(many[:, 1]) == set(range(8))


def test_what_is_known_well_enough_comes_as_drawn_and_before_the_rest():
    image = np.zeros((10, 40), dtype=int)
    image[:, 20:] = -1
    places = np.array([[0, 25], [0, 12], [0, 8], [0, 15], [0, 0]])
    ordered, share = best_known(image, places, np.ones((10, 10), dtype=bool))
    assert ordered[:, 1].tolist() == [12, 8, 0, 15, 25]
    assert share.tolist() == [0.8, 1, 1, 0.5, 0]
    assert [(cut(image, place, (10, 10)) >= 0).mean() for place in ordered] == share.tolist()


def test_only_the_cells_asked_count():
    image = np.zeros((4, 8), dtype=int)
    image[0] = -1
    asked = np.ones((4, 4), dtype=bool)
    asked[0] = False
    assert best_known(image, np.array([[0, 0], [0, 4]]), asked)[1].tolist() == [1, 1]


def test_in_an_image_with_nodata_the_best_known_of_many_places_are_taken():
    image = np.full((30, 30), -1)
    image[:, 24:] = 1
    places = draw_places(image, (6, 6), 5, np.random.default_rng(0))
    assert len(places) == 5
    assert (places[:, 1] >= 20).all()


def test_where_nodata_are_scattered_evenly_places_are_anywhere():
    image = np.where(np.random.default_rng(0).random((300, 300)) < 0.4, -1, 1)
    rng, asked = np.random.default_rng(1), np.ones((100, 100), dtype=bool)
    places = rng.integers(0, 201, (40, 2))
    assert (best_known(image, places, asked)[0] == places).all()
