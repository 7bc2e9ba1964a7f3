import numpy as np
import pytest

from rcnn_dist.data.shapes_scene import Shape, annotate, draw_scene, map_objects

CLASSES = ("striped_disc", "checkered_square")


def square(centre, radius):
    """A checkered square as it lies in a picture; its outline is 0.9 of the radius."""
    centre = np.array(centre, dtype=np.float64)
    to_image = np.column_stack([np.eye(2) * radius, centre])
    return Shape("checkered_square", to_image, np.concatenate([centre - 0.9 * radius, centre + 0.9 * radius]))


def owners(*regions, shape=(100, 120)):
    owner = np.full(shape, -1)
    for index, (x1, y1, x2, y2) in regions:
        owner[y1:y2, x1:x2] = index
    return owner


def test_a_shape_in_full_view():
    objects = annotate([square((50, 40), 20)], owners((0, (32, 22, 68, 58))))
    assert objects.boxes.tolist() == [[32, 22, 68, 58]] and objects.classes == ("checkered_square",)
    assert objects.difficult.tolist() == objects.truncated.tolist() == [False]


def test_the_box_is_the_seen_part():
    objects = annotate([square((0, 40), 20)], owners((0, (0, 22, 18, 58))))
    assert objects.boxes.tolist() == [[0, 22, 18, 58]]
    assert objects.truncated.tolist() == [True] and objects.difficult.tolist() == [False]


def test_little_of_it_is_difficult():
    whole, hidden = (0, (32, 22, 68, 58)), (-1, (32, 22, 66, 56))  # a thin frame is left: the box stays, 11% is seen
    objects = annotate([square((50, 40), 20)], owners(whole, hidden))
    assert objects.boxes.tolist() == [[32, 22, 68, 58]]
    assert objects.difficult.tolist() == [True] and objects.truncated.tolist() == [False]


def test_a_small_one_is_difficult():
    assert annotate([square((50, 40), 7)], owners((0, (44, 34, 56, 46)))).difficult.tolist() == [True]


def test_what_is_as_good_as_hidden_is_not_annotated():
    shapes = [square((50, 40), 20), square((90, 80), 10), square((20, 80), 10)]
    objects = annotate(shapes, owners((0, (32, 22, 34, 58)), (2, (11, 71, 29, 89))))
    assert objects.boxes.tolist() == [[11, 71, 29, 89]]


def test_nothing_placed():
    objects = annotate([], owners())
    assert objects.boxes.shape == (0, 4) and objects.classes == () and objects.difficult.shape == (0,)


@pytest.mark.parametrize("seed", range(8))
def test_scenes_hold_to_their_frame(seed):
    scene = draw_scene(np.random.default_rng(seed), 150, 100, CLASSES, 4)
    image, objects = scene.image, scene.objects
    assert image.shape == (100, 150, 3) and image.dtype == np.uint8
    assert image.std() > 10
    assert len(objects.classes) <= 4 and set(objects.classes) <= set(CLASSES)
    x1, y1, x2, y2 = objects.boxes.T
    assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= 150).all() and (y2 <= 100).all() and (x2 > x1).all() and (y2 > y1).all()


def test_one_generator_one_scene():
    scenes = [draw_scene(np.random.default_rng(seed), 150, 100, CLASSES, 3) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(scenes[0].image, scenes[1].image)
    np.testing.assert_array_equal(scenes[0].objects.boxes, scenes[1].objects.boxes)
    assert not np.array_equal(scenes[0].image, scenes[2].image)


def test_masks_by_hand():
    shapes = [square((20, 20), 2), square((50, 40), 20), square((80, 40), 4)]  # the first is too little seen to be annotated
    owner = owners((1, (32, 22, 68, 58)), (2, (76, 36, 84, 44)))
    owner[20, 20] = 0
    mapped = map_objects(shapes, owner)
    assert mapped[20, 20] == 255 and mapped[0, 0] == 0
    assert (mapped[23:57, 33:67] == 1).all() and (mapped[37:43, 77:83] == 2).all()
    assert (mapped[22, 32:68] == 255).all() and (mapped[22:58, 67] == 255).all() and mapped[21, 40] == 0
    assert np.count_nonzero(mapped == 1) == 34 * 34


@pytest.mark.parametrize("seed", range(4))
def test_masks_lie_in_the_boxes_of_their_objects(seed):
    scene = draw_scene(np.random.default_rng(seed), 150, 100, CLASSES, 4)
    assert scene.object_map.shape == (100, 150)
    assert set(np.unique(scene.object_map)) <= {0, 255, *range(1, len(scene.objects.classes) + 1)}
    for k, (x1, y1, x2, y2) in enumerate(scene.objects.boxes.astype(int).tolist(), start=1):
        rows, columns = np.nonzero(scene.object_map == k)
        assert len(rows) == 0 or (x1 <= columns.min() and columns.max() < x2 and y1 <= rows.min() and rows.max() < y2)
